"""Training: set-up, loop and checkpoints, in the order they happen."""

import dataclasses
import json
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fasttok.console import log, progress, table
from fasttok.errors import InputError
from pipelines.shards import ReadState, ShardReader
from train import losses, matching, model, optim, siglip
from train import weights as pretrained
from train.checkpoint import Checkpoints
from train.config import ModelConfig, TrainConfig, load_model_config
from train.data import Encoder, decode_image, longest_row, prefetch
from train.tokens import END_OF_ACTION, TextTokenizer, robot_prompt
from train.tracker import JsonLines

TEXT_TOKENIZER = "text_tokenizer.json"
TEXTS_MEASURED = 20_000
CALIBRATION_IMAGES = 128


@dataclasses.dataclass(frozen=True)
class Setup:
    """Everything a run needs before its first step; `weights` are the reader's, None for all kinds."""

    config: TrainConfig
    model: ModelConfig
    reader: ShardReader
    encoder: Encoder
    weights: dict[str, float] | None


def prepare(config: TrainConfig) -> Setup:
    """Opens the shards and fills what the configuration leaves to them: vocabulary, horizon, dims, cameras, text length.

    Raises:
        InputError: the shards are not usable, hold none of the kinds, or do not fit the model asked for.
    """
    reader = ShardReader(str(config.shards))
    rows = {name: source["written"] for name, source in reader.manifest.sources.items()}
    chosen = {n: float(rows[n]) for n, s in reader.manifest.sources.items() if s["kind"] in config.kinds and rows[n]}
    if not chosen:
        raise InputError(f"{config.shards} holds no rows of kind {', '.join(config.kinds)}; choose others with --kinds")
    text = text_tokenizer(config, reader)
    encoder = Encoder(reader, text, None, 0, kinds=config.kinds)
    encoder.length = config.text_length or longest_row(reader, encoder, config.kinds)
    found = {
        "vocab_size": encoder.layout.size,
        "horizon": encoder.horizon,
        "action_dim": encoder.action_dim,
        "cameras": len(encoder.slots),
    }
    for name, value in found.items():
        asked = getattr(config.model, name)
        if asked and (asked != value if name == "cameras" else asked < value):
            raise InputError(
                f"--model.{name.replace('_', '-')} is {asked}, the shards need {value}; leave it 0 to take it from them"
            )
    sizes: dict[str, Any] = {name: getattr(config.model, name) or value for name, value in found.items()}
    encoder.model = dataclasses.replace(config.model, **sizes)
    weights = None if len(chosen) == sum(n > 0 for n in rows.values()) else chosen
    return Setup(config, encoder.model, reader, encoder, weights)


def text_tokenizer(config: TrainConfig, reader: ShardReader) -> TextTokenizer:
    """The run's own when it resumes, else the one given, else that of `init_from`, else one trained on the shards' texts."""
    own = config.out / TEXT_TOKENIZER
    if config.resume and own.is_file():
        return TextTokenizer.load(own)
    if config.text_tokenizer is not None:
        return TextTokenizer.load(config.text_tokenizer)
    if config.init_from is not None:
        return TextTokenizer.load(config.init_from / TEXT_TOKENIZER)
    if config.weights is not None:
        return TextTokenizer.load(pretrained.text_tokenizer(config.weights))
    texts = []
    for number in range(0, reader.num_rows, max(1, -(-reader.num_rows // TEXTS_MEASURED))):
        row = reader.row(number)
        robot = row["kind"] == "robot"
        texts += [robot_prompt(row["prompt"], np.zeros(1)), END_OF_ACTION] if robot else [row["prompt"], row["target"]]
    return TextTokenizer.train(texts, config.text_vocab)


@partial(jax.jit, static_argnames=("config", "model_config"), donate_argnames=("params", "state"))
def train_step(
    params: Any,
    state: Any,
    batch: dict[str, jax.Array],
    step: jax.Array,
    *,
    config: TrainConfig,
    model_config: ModelConfig,
) -> tuple[Any, Any, dict[str, jax.Array]]:
    """One optimiser step; its noise is a function of (seed, step)."""
    key = jax.random.fold_in(jax.random.key(config.seed), step)

    def loss(params: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        return losses.compute(params, model_config, batch, key, alpha=config.alpha, flow_draws=config.flow_draws,
                              loss_norm=config.loss_norm)  # fmt: skip

    (total, metrics), grads = jax.value_and_grad(loss, has_aux=True)(params)
    metrics["loss"] = total
    backbone = {name: grads[name] for name in ("vision", "backbone")}
    metrics["grad_norm_backbone"] = optax.global_norm(backbone)
    if "expert" in grads:
        metrics["grad_norm_expert"] = optax.global_norm(grads["expert"])
    updates, state = optim.make(config).update(grads, state, params)
    return optax.apply_updates(params, updates), state, metrics


def run(config: TrainConfig) -> None:
    """Trains, logs, saves; resumes bit for bit.

    Raises:
        InputError: as `prepare`; OUT is in the way; a loss is not finite.
    """
    open_run(config)
    setup = prepare(config)
    print_plan(setup)
    if config.dry_run:
        return
    config.out.mkdir(parents=True, exist_ok=True)
    resolved = dataclasses.replace(config, model=setup.model, text_length=setup.encoder.length)
    (config.out / "config.json").write_text(json.dumps(resolved.to_json(), indent=2) + "\n", encoding="utf-8")
    setup.encoder.text.save(config.out / TEXT_TOKENIZER)
    setup.encoder.tok.save(config.out / "tokenizer", overwrite=True)

    params = initial_params(setup)
    state = optim.make(config).init(params)
    checkpoints = Checkpoints(config.out, config.keep)
    start, data = 0, None
    if config.resume and checkpoints.last_step is not None:
        start, params, state, saved = checkpoints.restore(params, state)
        data = ReadState(**saved)
        log(f"resuming after step {start}")
    tracker = JsonLines(config.out, start)
    # Paths and bookkeeping do not change the compiled step; keeping them out of it lets a resumed run hit the cache.
    static = dataclasses.replace(config, out=Path("RUN"), shards=Path("SHARDS"), resume=False, overwrite=False)
    batches = prefetch(setup.reader, setup.encoder, config.batch_size, data, setup.weights, config.seed)
    clock = Clock()
    with progress("training", config.steps, "steps") as advance:
        advance(start)
        for step in range(start + 1, config.steps + 1):
            with clock.waiting():
                batch, data = next(batches)
            params, state, metrics = train_step(
                params, state, batch, jnp.int32(step), config=static, model_config=setup.model
            )
            if step % config.log_every == 0 or step == config.steps or step == start + 1:
                row = {name: float(value) for name, value in metrics.items()}
                check_finite(row, step)
                row = {"step": step, **row, **clock.lap(step, config.batch_size)}
                tracker.log(row)
                advance(0, line(row))
            if step % config.checkpoint_every == 0 or step == config.steps:
                checkpoints.save(step, params, state, data.to_json())
            advance()
    batches.close()
    checkpoints.close()
    log(
        f"trained {config.steps} steps -> {config.out}; next: python -m train.evaluate --run {config.out} --env MODULE:FACTORY"
    )


def open_run(config: TrainConfig) -> None:
    """Makes way for the run; only a run's folder is ever replaced.

    Raises:
        InputError: OUT holds a run and neither --resume nor --overwrite was given, or is something else.
    """
    if config.dry_run or not config.out.exists() or not any(config.out.iterdir()):
        return
    if not (config.out / "config.json").is_file():
        raise InputError(f"{config.out} exists and is not a run; choose another --out")
    if config.overwrite:
        shutil.rmtree(config.out)
    elif not config.resume:
        raise InputError(
            f"{config.out} holds a run; pass --resume to go on, --overwrite to replace it, or another --out"
        )


def some_images(setup: Setup) -> jax.Array:
    """(B, S, S, 3) pictures of the primary camera from rows all over the shards."""
    rows = range(0, setup.reader.num_rows, max(1, setup.reader.num_rows // CALIBRATION_IMAGES))
    found = (setup.reader.row(i)[f"image/{setup.encoder.slots[0]}"] for i in rows)
    return jnp.stack([decode_image(data, setup.model.image_size) for data in found if data])


def initial_params(setup: Setup) -> model.Params:
    """Random parameters, fitted to some images; those of `weights`, or vision and backbone of `init_from`, when given.

    Raises:
        InputError: that run's shapes are others; the weights do not fit.
    """
    config, model_config = setup.config, setup.model
    if config.weights is not None:
        return pretrained.start(plan_weights(setup, config.weights), model_config, jax.random.key(config.seed))
    params = model.init(jax.random.key(config.seed), model_config)
    if config.init_from is None:
        return params | {"vision": siglip.calibrate(params["vision"], some_images(setup), model_config.patch)}
    theirs = load_model_config(config.init_from)
    source = Checkpoints(config.init_from)
    loaded = source.restore_params(jax.eval_shape(lambda key: model.init(key, theirs), jax.random.key(0)))
    source.close()
    for part in ("vision", "backbone"):
        ours, got = jax.tree.map(jnp.shape, params[part]), jax.tree.map(jnp.shape, loaded[part])
        if ours != got:
            raise InputError(
                f"--init-from {config.init_from}: its {part} has other shapes; use the same --model and shards"
            )
        params[part] = loaded[part]
    return params


def plan_weights(setup: Setup, path: Path) -> matching.Plan:
    """What of `weights` goes where; reads headers only.

    Raises:
        InputError: they do not fit; see `matching.plan`.
    """
    text, tok = setup.encoder.text, setup.encoder.tok
    strict, resample = setup.config.weights_strict, setup.config.weights_resample
    return matching.plan(
        path, setup.model, text_rows=text.size, tokenizer=tok.fingerprint, strict=strict, resample=resample
    )


def check_finite(row: dict[str, float], step: int) -> None:
    """Stops on NaN or inf.

    Raises:
        InputError: naming the loss and step.
    """
    bad = [name for name, value in row.items() if value != value or abs(value) == float("inf")]
    if bad:
        raise InputError(
            f"{', '.join(bad)} is not finite by step {step}; lower --learning-rate or --clip, and check the shards with: "
            "python -m pipelines lint"
        )


def print_plan(setup: Setup) -> None:
    """What will be trained on what."""
    shapes = jax.eval_shape(lambda key: model.init(key, setup.model), jax.random.key(0))
    counts = {part: model.count(tree) for part, tree in shapes.items()}
    rows: list[list[Any]] = [[f"parameters: {part}", n] for part, n in counts.items()]
    rows += [["parameters: all", sum(counts.values())]]
    rows += [["rows in the shards", setup.reader.num_rows], ["tokens per row", setup.encoder.length]]
    rows += [["cameras", ", ".join(setup.encoder.slots)], ["vocabulary", setup.model.vocab_size]]
    rows += [["insulation", ", ".join(f"{s:g}" for s in setup.model.insulation)], ["devices", str(jax.device_count())]]
    rows += [["samples", setup.config.steps * setup.config.batch_size]]
    table(f"{setup.config.preset} -> {setup.config.out}", ["what", "value"], rows)
    if setup.config.weights is not None:
        plan_weights(setup, setup.config.weights).report.show()


def line(row: dict[str, float]) -> str:
    """One aligned line of the log."""
    parts = [f"{name[5:]} {row[name]:.3f}" for name in ("loss_vlm", "loss_fast", "loss_flow") if name in row]
    return "  ".join([*parts, f"{row['samples_per_second']:.0f} samples/s", f"wait {100 * row['data_wait']:.0f} %"])


class Clock:
    """Samples per second and share of time spent waiting for data, since the last lap; the first (compiling) step is left out."""

    def __init__(self) -> None:
        self.begin, self.wait, self.step = time.monotonic(), 0.0, 0

    def waiting(self) -> "Clock":
        """A context whose time counts as waiting."""
        return self

    def __enter__(self) -> None:
        self.entered = time.monotonic()

    def __exit__(self, *_: Any) -> None:
        self.wait += time.monotonic() - self.entered

    def lap(self, step: int, batch_size: int) -> dict[str, float]:
        """Numbers since the last lap, and starts the next."""
        now = time.monotonic()
        seconds, steps = max(now - self.begin, 1e-9), step - self.step if self.step else 1
        out = {"samples_per_second": steps * batch_size / seconds, "data_wait": self.wait / seconds}
        self.begin, self.wait, self.step = now, 0.0, step
        return out
