"""What a run needs before its first step: shards opened, shapes filled in, text tokenizer and parameters at hand."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fasttok import ActionTokenizer
from fasttok.errors import InputError
from pipelines.shards import ShardReader
from train import model, siglip
from train import weights as pretrained
from train.checkpoint import load_params
from train.config import ModelConfig, TrainConfig
from train.data import Batcher, decode_image, longest_row
from train.examples import Encoder
from train.run_folder import TEXT_TOKENIZER, TOKENIZER, SavedRun
from train.tokens import END_OF_ACTION, TextTokenizer, robot_prompt, state_text
from train.weights import matching

TEXTS_MEASURED = 20_000
CALIBRATION_IMAGES = 128


@dataclass(frozen=True)
class Setup:
    """Everything before the first step.

    Attributes:
        config: as given. model: with what the shards decide filled in. weights: the reader's, None for all kinds.
    """

    config: TrainConfig
    model: ModelConfig
    reader: ShardReader
    encoder: Encoder
    batcher: Batcher
    weights: dict[str, float] | None

    @property
    def wrist(self) -> tuple[bool, ...]:
        """Which camera slots are wrist cameras."""
        return tuple(slot.startswith("wrist") for slot in self.encoder.slots)

    @property
    def resolved(self) -> TrainConfig:
        """The configuration with nothing left to the shards, as it is saved."""
        data = dataclasses.replace(self.config.data, text_length=self.batcher.length)
        return dataclasses.replace(self.config, model=self.model, data=data)

    @property
    def saved(self) -> SavedRun:
        """What the run's folder keeps of it."""
        return SavedRun(self.resolved, self.encoder.text, self.encoder.tok)


def prepare(config: TrainConfig) -> Setup:
    """Opens the shards and fills what the configuration leaves to them: vocabulary, horizon, dims, cameras, text length.

    Raises:
        InputError: the shards are not usable, hold none of the kinds, or do not fit the model asked for.
    """
    reader, kinds = ShardReader(str(config.shards)), config.data.kinds
    rows = {name: source.written for name, source in reader.manifest.sources.items()}
    chosen = {n: float(rows[n]) for n, s in reader.manifest.sources.items() if s.kind in kinds and rows[n]}
    if not chosen:
        raise InputError(f"{config.shards} holds no rows of kind {', '.join(kinds)}; choose others with --data.kinds")
    text = text_tokenizer(config, reader)
    encoder = Encoder(reader, text, config.model, config.data)
    length = config.data.text_length or longest_row(reader, encoder, kinds)
    found = {
        "vocab_size": encoder.placement.size,
        "horizon": encoder.horizon,
        "action_dim": encoder.action_dim,
        "cameras": len(encoder.slots),
        **({"state_dim": encoder.state_dim} if config.model.state_token else {}),
    }
    for name, value in found.items():
        asked = getattr(config.model, name)
        if asked and (asked != value if name == "cameras" else asked < value):
            raise InputError(
                f"--model.{name.replace('_', '-')} is {asked}, the shards need {value}; leave it 0 to take it from them"
            )
    if config.model.state_token and not encoder.state_dim:
        raise InputError(f"{config.shards} holds no states; use --model.state text")
    sizes: dict[str, Any] = {name: getattr(config.model, name) or value for name, value in found.items()}
    shaped = dataclasses.replace(config.model, **sizes)
    weights = None if len(chosen) == sum(n > 0 for n in rows.values()) else chosen
    batcher = Batcher(shaped, encoder.slots, length, text.pad, config.data.resize)
    return Setup(config, shaped, reader, encoder, batcher, weights)


def text_tokenizer(config: TrainConfig, reader: ShardReader) -> TextTokenizer:
    """The run's own when it resumes, else the one given, else `init_from`'s or `weights`', else one trained on the shards."""
    own = config.out / TEXT_TOKENIZER
    if config.resume and own.is_file():
        return TextTokenizer.load(own)
    if config.data.text_tokenizer is not None:
        return TextTokenizer.load(config.data.text_tokenizer)
    if config.init_from is not None:
        return TextTokenizer.load(config.init_from / TEXT_TOKENIZER)
    if config.weights is not None:
        return TextTokenizer.load(pretrained.text_tokenizer(config.weights))
    texts = []
    for number in range(0, reader.num_rows, max(1, -(-reader.num_rows // TEXTS_MEASURED))):
        row = reader.row(number)
        robot = row["kind"] == "robot"
        shown = robot_prompt(row["prompt"], state_text(np.zeros(1)), row["target"])
        texts += [shown, END_OF_ACTION] if robot else [row["prompt"], row["target"]]
    return TextTokenizer.train(texts, config.data.text_vocab)


def initial_params(setup: Setup) -> model.Params:
    """Random parameters, fitted to some images; those of `weights`, or vision and backbone of `init_from`, when given.

    Raises:
        InputError: that run's shapes are others; the weights do not fit.
    """
    config, shapes = setup.config, setup.model
    if config.weights is not None:
        return pretrained.start(plan_weights(setup, config.weights), shapes, jax.random.key(config.seed))
    params = jax.jit(lambda key: model.init(key, shapes))(jax.random.key(config.seed))
    if config.init_from is None:
        return params | {"vision": siglip.calibrate(params["vision"], some_images(setup), shapes.patch)}
    return params | _from_run(setup, config.init_from, params)


def _from_run(setup: Setup, run: Path, params: model.Params) -> model.Params:
    """Vision and backbone of another run. Its action and state tokens come along when they mean the same and it has seen robots;
    otherwise those rows stay as initialised, so that runs with other discrete targets and states can start from one VLM."""
    theirs, loaded, _ = load_params(run)
    ours = {part: params[part] for part in ("vision", "backbone")}
    state = {
        name: ours["backbone"][name] for name in ("state_in",) if name in ours["backbone"]
    }  # new, where theirs had none
    got = {"vision": loaded["vision"], "backbone": state | loaded["backbone"]}
    table, words = ours["backbone"]["embedding"], setup.encoder.text.size
    tok = ActionTokenizer.load(run / TOKENIZER)
    same = (theirs.data.discrete, theirs.model.state, tok.fingerprint) == (
        setup.config.data.discrete, setup.model.state, setup.encoder.tok.fingerprint,
    )  # fmt: skip
    if not (same and "robot" in theirs.data.kinds) and theirs.model.width == setup.model.width:
        got["backbone"] = got["backbone"] | {"embedding": table.at[:words].set(got["backbone"]["embedding"][:words])}
    for part in ours:
        if jax.tree.map(jnp.shape, ours[part]) != jax.tree.map(jnp.shape, got[part]):
            raise InputError(
                f"--init-from {run}: its {part} has other shapes; use the same --size, --model and text tokenizer"
            )
    return got


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


def some_images(setup: Setup) -> jax.Array:
    """(B, S, S, 3) pictures of the first camera from rows all over the shards, in [-1, 1]."""
    rows = range(0, setup.reader.num_rows, max(1, setup.reader.num_rows // CALIBRATION_IMAGES))
    found = (setup.reader.row(i)[f"image/{setup.encoder.slots[0]}"] for i in rows)
    decoded = [decode_image(data, setup.model.image_size, setup.config.data.resize) for data in found if data]
    return model.pixels(jnp.stack(decoded), "float32")
