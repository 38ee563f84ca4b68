"""Loads weights of PaliGemma, openpi, lerobot or our own exports as parameters to train from.

`matching.plan` decides from headers what to load, and this module reads the tensors one by one. It needs memory for the
parameters in float32 and for one tensor of the checkpoint (docs/weights.md has measurements). Parameters that the checkpoint
lacks are initialised as in `model.init`.
"""

from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from fasttok.common.console import track
from fasttok.errors import InputError
from train import model
from train.config import ModelConfig
from train.devices.one_off import jit_once
from train.params import Params
from train.weights.layouts import LM_HEAD, Shape, flatten, unflatten
from train.weights.matching import EMBEDDING, POSITION, LoadPlan
from train.weights.sources import StoredWeights


def start(todo: LoadPlan, config: ModelConfig, key: jax.Array) -> Params:
    """Returns parameters to train from, float32: the planned ones of the checkpoint, and random ones from `key` for the rest.

    Raises:
        InputError: as in `read`.
    """
    host, missing = read(todo), set(todo.fresh)
    # Under jit, arrays that are not returned are never made. A second whole model would not fit beside the first.
    fresh = jit_once(lambda key: {p: v for p, v in flatten(model.init(key, config)).items() if p in missing})(key)
    # Waiting for each copy frees its array on the host. If all copies waited at once, the model would be there twice.
    placed = {p: fresh[p] if p in fresh else jnp.array(host.pop(p)).block_until_ready() for p in todo.shapes}
    return cast(Params, unflatten(placed))


def text_tokenizer(path: Path) -> Path:
    """Returns the tokenizer.json beside a checkpoint: the rows of its embedding mean the tokens of this tokenizer only.

    Raises:
        InputError: there is no such file.
    """
    folder = path if path.is_dir() else path.parent
    for name in ("text_tokenizer.json", "tokenizer.json"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"--weights {path} has no tokenizer.json beside it; pass the one it was trained with as --data.text-tokenizer"
    )


def read(todo: LoadPlan) -> dict[str, NDArray[np.float32]]:
    """Reads the planned arrays, by path, float32, on the host.

    Raises:
        InputError: a tensor is damaged or not finite, or the output head, which should equal the embedding, differs from it.
    """
    stored, out = todo.stored, {}
    for path, group in track(todo.matched.items(), "reading weights", unit="arrays"):
        shape = todo.shapes[path]
        if group[0].index:
            out[path] = np.empty(shape, np.float32)
            for mapped in group:
                tensor = _finite(stored, todo.names[mapped.name])
                out[path][mapped.index] = mapped.to_ours(tensor, shape[len(mapped.index) :])
            continue
        tensor = _finite(stored, todo.names[group[0].name])
        if path == EMBEDDING:
            out[path] = _table(tensor, shape, todo.rows)
            continue
        if path == POSITION and tensor.shape != group[0].shape:
            tensor = _resample(stored, tensor, group[0].shape)
        out[path] = np.ascontiguousarray(group[0].to_ours(tensor, shape), np.float32)
    if LM_HEAD in todo.names and EMBEDDING in out:
        head = stored.read(todo.names[LM_HEAD])
        if not np.array_equal(head[: todo.rows], stored.read(todo.names[todo.matched[EMBEDDING][0].name])[: todo.rows]):
            raise InputError(
                f"{stored.where}: its {todo.names[LM_HEAD]} is not its embedding; our model ties the two and has no place for it"
            )
    return out


def _finite(stored: StoredWeights, name: str) -> NDArray[Any]:
    tensor = stored.read(name)
    if not np.isfinite(tensor).all():
        bad = int((~np.isfinite(tensor)).sum())
        raise InputError(
            f"{stored.where}: {name} has {bad} of {tensor.size} numbers that are NaN or infinite; expected finite ones"
        )
    return tensor


def _table(tensor: NDArray[Any], shape: Shape, rows: int) -> NDArray[np.float32]:
    """Returns the embedding: copied rows, then their mean for new rows, so a new token starts as likely as an average one."""
    if tensor.shape == shape and rows == shape[0]:
        return np.ascontiguousarray(tensor, np.float32)
    out = np.empty(shape, np.float32)
    out[:rows] = tensor[:rows]
    out[rows:] = out[:rows].mean(axis=0, dtype=np.float64)
    return out


def _resample(stored: StoredWeights, tensor: NDArray[Any], shape: Shape) -> NDArray[np.float32]:
    """Resamples the position embedding to another grid of patches, bilinearly. Both grids are square."""
    width, (old, new) = tensor.shape[-1], (int(n**0.5) for n in (tensor.size // tensor.shape[-1], shape[-2]))
    if old * old * width != tensor.size:
        raise InputError(
            f"{stored.where}: its position embedding {tensor.shape} is not a square grid; use its --model.image-size"
        )
    grid = np.asarray(tensor, np.float32).reshape(old, old, width)
    return np.asarray(jax.image.resize(grid, (new, new, width), "bilinear")).reshape(shape)
