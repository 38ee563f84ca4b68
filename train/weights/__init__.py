"""Weights in: PaliGemma's, openpi's, lerobot's and our own files as parameters to train from.

`matching.plan` decides from headers; here the tensors are read one by one. Memory: the parameters in float32 plus one tensor
of the checkpoint (docs/weights.md has what was measured). What the checkpoint lacks is initialised as `model.init` does.
"""

from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from fasttok.common.console import track
from fasttok.errors import InputError
from train import model
from train.config import ModelConfig
from train.params import Params
from train.weights.layouts import LM_HEAD, flatten, unflatten
from train.weights.matching import EMBEDDING, POSITION, Plan
from train.weights.sources import Source


def start(todo: Plan, config: ModelConfig, key: jax.Array) -> Params:
    """Parameters to train from, float32: the planned ones of the checkpoint, and random ones from `key` for the rest.

    Raises:
        InputError: as `read`.
    """
    host, missing = read(todo), set(todo.fresh)
    # Under jit the arrays that nobody asks for are never made: a second whole model would not fit beside the first.
    fresh = jax.jit(lambda key: {p: v for p, v in flatten(model.init(key, config)).items() if p in missing})(key)
    # Waiting for each copy lets go of its array on the host: copies that all wait their turn would double the model.
    placed = {p: fresh[p] if p in fresh else jax.block_until_ready(jnp.array(host.pop(p))) for p in todo.shapes}
    return cast(Params, unflatten(placed))


def text_tokenizer(path: Path) -> Path:
    """The tokenizer.json beside a checkpoint: its embedding's rows mean that tokenizer's tokens and no other's.

    Raises:
        InputError: there is none.
    """
    folder = path if path.is_dir() else path.parent
    for name in ("text_tokenizer.json", "tokenizer.json"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"--weights {path} has no tokenizer.json beside it; pass the one it was trained with as --data.text-tokenizer"
    )


def read(todo: Plan) -> dict[str, NDArray]:
    """The planned arrays by path, float32, on the host.

    Raises:
        InputError: a tensor is damaged or not finite, or a head that should be the embedding differs from it.
    """
    source, out = todo.source, {}
    for path, group in track(todo.found.items(), "reading weights", unit="arrays"):
        shape = todo.shapes[path]
        if group[0].index:
            out[path] = np.empty(shape, np.float32)
            for piece in group:
                tensor = _finite(source, todo.names[piece.name])
                out[path][piece.index] = piece.to_ours(tensor, shape[len(piece.index) :])
            continue
        tensor = _finite(source, todo.names[group[0].name])
        if path == EMBEDDING:
            out[path] = _table(tensor, shape, todo.rows)
            continue
        if path == POSITION and tensor.shape != group[0].shape:
            tensor = _resample(source, tensor, group[0].shape)
        out[path] = np.ascontiguousarray(group[0].to_ours(tensor, shape), np.float32)
    if LM_HEAD in todo.names and EMBEDDING in out:
        head = source.read(todo.names[LM_HEAD])
        if not np.array_equal(head[: todo.rows], source.read(todo.names[todo.found[EMBEDDING][0].name])[: todo.rows]):
            raise InputError(
                f"{source.where}: its {todo.names[LM_HEAD]} is not its embedding; our model ties the two and has no place for it"
            )
    return out


def _finite(source: Source, name: str) -> NDArray:
    tensor = source.read(name)
    if not np.isfinite(tensor).all():
        bad = int((~np.isfinite(tensor)).sum())
        raise InputError(
            f"{source.where}: {name} has {bad} of {tensor.size} numbers that are NaN or infinite; expected finite ones"
        )
    return tensor


def _table(tensor: NDArray, shape: tuple[int, ...], rows: int) -> NDArray:
    """The embedding: copied rows, then the mean of them for new ones, so that a new token starts as likely as an average one."""
    if tensor.shape == shape and rows == shape[0]:
        return np.ascontiguousarray(tensor, np.float32)
    out = np.empty(shape, np.float32)
    out[:rows] = tensor[:rows]
    out[rows:] = out[:rows].mean(axis=0, dtype=np.float64)
    return out


def _resample(source: Source, tensor: NDArray, shape: tuple[int, ...]) -> NDArray:
    """Positions of another grid of patches, bilinear; both grids are square."""
    width, (old, new) = tensor.shape[-1], (int(n**0.5) for n in (tensor.size // tensor.shape[-1], shape[-2]))
    if old * old * width != tensor.size:
        raise InputError(
            f"{source.where}: its position embedding {tensor.shape} is not a square grid; use its --model.image-size"
        )
    grid = np.asarray(tensor, np.float32).reshape(old, old, width)
    return np.asarray(jax.image.resize(grid, (new, new, width), "bilinear")).reshape(shape)
