"""Parameters before the first step: random ones fitted to some images, another run's, or a checkpoint of other people."""

from pathlib import Path

import jax
import jax.numpy as jnp

from fasttok import ActionTokenizer
from fasttok.errors import InputError
from train import lora, model, siglip
from train import weights as pretrained
from train.batches import decode_image
from train.checkpoint import load_params
from train.config import COMPONENTS
from train.params import BackboneParams, Params, VisionParams
from train.run_folder import TOKENIZER
from train.setup import Setup
from train.weights import matching

CALIBRATION_IMAGES = 128
ADAPTERS = 1  # which of a seed's keys draws LoRA's matrices


def initial_params(setup: Setup) -> Params:
    """Random parameters, fitted to some images; those of `weights`, or vision and backbone of `init_from`, if given.

    LoRA's adapters come on top of any of these.

    Raises:
        InputError: that run's shapes are others; the weights do not fit; LoRA has nothing to adapt.
    """
    key = jax.random.fold_in(jax.random.key(setup.config.seed), ADAPTERS)
    return lora.add(_base(setup), setup.config.lora, key)


def random_components(setup: Setup) -> set[str]:
    """Components of the model whose layers start from random numbers."""
    config = setup.config
    if config.weights is not None:
        names = [path.split("/") for path in plan_weights(setup, config.weights).fresh]
        return {component for component, *below in names if set(below) & set(lora.AXES)}
    return {"expert"} if config.init_from is not None else set(COMPONENTS)


def _base(setup: Setup) -> Params:
    config, shapes = setup.config, setup.model
    if config.weights is not None:
        return pretrained.start(plan_weights(setup, config.weights), shapes, jax.random.key(config.seed))
    params: Params = jax.jit(lambda key: model.init(key, shapes))(jax.random.key(config.seed))
    if config.init_from is None:
        images = some_images(setup)
        if images is not None:
            params["vision"] = siglip.calibrate(params["vision"], images, shapes.patch)
    else:
        params["vision"], params["backbone"] = _from_run(setup, config.init_from, params)
    return params


def _from_run(setup: Setup, run: Path, ours: Params) -> tuple[VisionParams, BackboneParams]:
    """Vision and backbone of another run.

    Its action and state tokens come along if they mean the same and it has seen robots. Otherwise those rows stay as initialised,
    so that runs with other discrete targets and states can start from one VLM.

    Args:
        setup: of this run.
        run: folder of the other one.
        ours: random parameters of this run.

    Raises:
        InputError: the other run has other shapes.
    """
    theirs, loaded, _ = load_params(run)
    vision, backbone = loaded["vision"], loaded["backbone"]
    if "state_in" in ours["backbone"] and "state_in" not in backbone:
        backbone = {**backbone, "state_in": ours["backbone"]["state_in"]}
    table, words = ours["backbone"]["embedding"], setup.encoder.text.size
    tok = ActionTokenizer.load(run / TOKENIZER)
    same = (theirs.data.discrete, theirs.model.state, tok.fingerprint) == (
        setup.config.data.discrete, setup.model.state, setup.encoder.tok.fingerprint,
    )  # fmt: skip
    if not (same and "robot" in theirs.data.kinds) and theirs.model.width == setup.model.width:
        backbone = {**backbone, "embedding": table.at[:words].set(backbone["embedding"][:words])}
    for name, mine, other in (("vision", ours["vision"], vision), ("backbone", ours["backbone"], backbone)):
        if jax.tree.map(jnp.shape, mine) != jax.tree.map(jnp.shape, other):
            raise InputError(
                f"--init-from {run}: its {name} has other shapes; use the same --size, --model and text tokenizer"
            )
    return vision, backbone


def plan_weights(setup: Setup, path: Path) -> matching.LoadPlan:
    """What of `weights` goes where; reads headers only.

    Raises:
        InputError: they do not fit; see `matching.plan`.
    """
    text, tok = setup.encoder.text, setup.encoder.tok
    strict, resample = setup.config.weights_strict, setup.config.weights_resample
    return matching.plan(
        path, setup.model, text_rows=text.size, tokenizer=tok.fingerprint, strict=strict, resample=resample
    )


def some_images(setup: Setup) -> jax.Array | None:
    """Pictures of the first camera from rows all over the shards, (B, S, S, 3) float32 in [-1, 1]; None if there are none."""
    rows = range(0, setup.reader.num_rows, max(1, setup.reader.num_rows // CALIBRATION_IMAGES))
    pictures = (setup.reader.row(i)[f"image/{slot}"] for slot in setup.encoder.slots[:1] for i in rows)
    decoded = [decode_image(data, setup.model.image_size, setup.config.data.resize) for data in pictures if data]
    return model.pixels(jnp.stack(decoded), "float32") if decoded else None
