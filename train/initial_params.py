"""Makes the parameters before the first step: random ones, those of another run, or a pretrained checkpoint."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp

from fasttok import ActionTokenizer
from fasttok.errors import InputError
from train import model, siglip
from train import weights as pretrained
from train.batches import decode_image
from train.config import COMPONENTS, ModelConfig
from train.devices.one_off import jit_once
from train.learning import lora
from train.learning.layer_paths import is_stacked
from train.params import Component, Params, components
from train.runs.checkpoint import load_params
from train.runs.run_folder import TOKENIZER
from train.setup import Setup
from train.weights import matching

logger = logging.getLogger(__name__)
CALIBRATION_IMAGES = 128
ADAPTERS = 1  # folded into the seed's key to draw LoRA's matrices


def initial_params(setup: Setup) -> Params:
    """Returns the parameters that training starts from.

    By default they are random, with the vision encoder calibrated on some images. With `weights` they come from that checkpoint.
    With `init_from`, vision and backbone come from that run, and with `init_from_expert` its expert, too. LoRA's adapters are
    added in all cases.

    Raises:
        InputError: the run of `init_from` has other shapes, the weights do not fit, or LoRA has nothing to adapt.
    """
    key = jax.random.fold_in(jax.random.key(setup.config.seed), ADAPTERS)
    return lora.add(_base(setup), setup.config.lora, key)


def random_components(setup: Setup) -> set[str]:
    """Returns the components of the model whose layers start from random numbers."""
    config = setup.config
    if config.weights is not None:
        return {path.split("/")[0] for path in plan_weights(setup, config.weights).fresh if is_stacked(path)}
    if config.init_from is not None:
        return set() if config.init_from_expert else {"expert"}
    return set(COMPONENTS)


def _base(setup: Setup) -> Params:
    config, shapes = setup.config, setup.model
    if config.weights is not None:
        return pretrained.start(plan_weights(setup, config.weights), shapes, jax.random.key(config.seed))
    if config.init_from is not None:
        return _from_run(setup, config.init_from)
    params = _drawn(setup, lambda everything: everything)
    images = some_images(setup)
    if images is not None:
        params["vision"] = siglip.calibrate(params["vision"], images, shapes.patch)
    return params


def _drawn(setup: Setup, wanted: Callable[[Params], Params]) -> Params:
    """Draws random parameters, but only those that `wanted` takes from all of them: the compiler leaves the others out."""
    params: Params = jit_once(lambda key: wanted(model.init(key, setup.model)))(jax.random.key(setup.config.seed))
    return params


def _from_run(setup: Setup, run: Path) -> Params:
    """Returns vision and backbone of another run, and its expert if the configuration asks for it; the rest is random.

    The embeddings of its action and state tokens are used if these tokens mean the same in both runs and the other run was
    trained on robot rows. Otherwise these embeddings are random, so that runs with other discrete targets or another form of
    the state can start from the same VLM.

    Args:
        setup: setup of this run.
        run: folder of the other run.

    Raises:
        InputError: the other run has other shapes.
    """
    theirs, loaded, _ = load_params(run)
    tok = ActionTokenizer.load(run / TOKENIZER)
    taken: dict[str, Component] = {"vision": loaded["vision"], "backbone": loaded["backbone"]}
    if setup.config.init_from_expert:
        _check_expert(run, theirs.model, setup.model)
        taken = components(loaded)
        if tok.fingerprint != setup.encoder.tok.fingerprint:
            logger.warning(
                f"note: the expert of {run} learned actions as tokenizer {tok.fingerprint} normalises them; that of this run is "
                f"{setup.encoder.tok.fingerprint}, so the same numbers may mean other actions until it has learned these"
            )
    same = (theirs.data.discrete, theirs.model.state, tok.fingerprint) == (
        setup.config.data.discrete, setup.model.state, setup.encoder.tok.fingerprint,
    )  # fmt: skip
    new_tokens = not (same and "robot" in theirs.data.kinds) and theirs.model.width == setup.model.width

    def missing(ours: Params) -> Params:
        backbone = {
            name: leaf
            for name, leaf in ours["backbone"].items()
            if (name == "state_in" and name not in loaded["backbone"]) or (name == "embedding" and new_tokens)
        }
        return cast(Params, {**{name: mine for name, mine in ours.items() if name not in taken}, "backbone": backbone})

    params = _drawn(setup, missing)
    fresh, words = params["backbone"], setup.encoder.text.size
    if "embedding" in fresh:
        fresh["embedding"] = fresh["embedding"].at[:words].set(loaded["backbone"]["embedding"][:words])
    taken["backbone"] = {**loaded["backbone"], **fresh}
    for name, shapes in jax.eval_shape(lambda: model.init(jax.random.key(0), setup.model)).items():
        if name in taken and jax.tree.map(jnp.shape, shapes) != jax.tree.map(jnp.shape, taken[name]):
            raise InputError(
                f"--init-from {run}: its {name} has other shapes; use the same --size, --model and text tokenizer"
            )
    return cast(Params, {**params, **taken})


def _check_expert(run: Path, theirs: ModelConfig, ours: ModelConfig) -> None:
    """Checks that the expert of another run fits this run.

    Raises:
        InputError: that run has no expert, other shapes, another horizon or another recipe.
    """
    if not theirs.flow:
        raise InputError(
            f"--init-from-expert: {run} has no action expert (it was trained with --model.no-flow); leave it out"
        )
    names = (
        "recipe",
        "action_dim",
        "horizon",
        "state_token",
        "state_dim",
        "depth",
        "heads",
        "head_dim",
        "expert_width",
        "expert_mlp",
    )
    differs = [n for n in names if getattr(theirs, n) != getattr(ours, n)]
    if differs:
        said = ", ".join(f"{n} {getattr(theirs, n)} there and {getattr(ours, n)} here" for n in differs)
        flags = " ".join(f"--model.{n.replace('_', '-')} {getattr(theirs, n)}" for n in differs if n != "state_token")
        raise InputError(
            f"--init-from-expert: the expert of {run} does not fit this run: {said}. Give this model what it has"
            f"{f' ({flags}), as far as the shards allow it' if flags else ''}, or leave --init-from-expert out: the expert then "
            "starts from random numbers"
        )


def plan_weights(setup: Setup, path: Path) -> matching.LoadPlan:
    """Plans which tensors of `weights` become which parameters; reads only headers.

    Raises:
        InputError: the weights do not fit; see `matching.plan`.
    """
    text, tok = setup.encoder.text, setup.encoder.tok
    strict, resample = setup.config.weights_strict, setup.config.weights_resample
    return matching.plan(
        path, setup.model, text_rows=text.size, tokenizer=tok.fingerprint, strict=strict, resample=resample
    )


def some_images(setup: Setup) -> jax.Array | None:
    """Returns images of the first camera, from rows all over the shards: (B, S, S, 3) float32 in [-1, 1]; None if none exist."""
    numbers = range(0, setup.reader.num_rows, max(1, setup.reader.num_rows // CALIBRATION_IMAGES))
    decoded = []
    for slot in setup.encoder.slots[:1]:
        for row in map(setup.reader.row, numbers):
            if data := row[f"image/{slot}"]:
                seen = decode_image(data, setup.model.image_size, setup.config.data.resize)
                bgr = slot in setup.encoder.robots.bgr.get(row["source"], ())
                decoded.append(seen[..., ::-1] if bgr else seen)
    return model.pixels(jnp.stack(decoded), "float32") if decoded else None
