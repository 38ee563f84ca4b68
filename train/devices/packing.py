"""Packs the rows of a batch into fewer sequences, so nothing is computed for padding, absent cameras and rows without actions.

    rows         i i p p s .        sequences    i i p p s i i
                 i i . . . .                     p s s i i . .
                 i i p s s .

A row's tokens stay in order, see only each other, and keep the positions that they have in a row of their own. So every loss is
the same up to the order of float sums. The expert runs only for rows that act, and reads only their prefix. The host computes the
place of everything. The shapes are fixed for a run (`packing_plan`), because other shapes mean another program to compile. A
batch that does not fit them, which is rare, is computed without packing; only the shards and the configuration decide which
batches fit.

Packing works on one device only: with several, rows would have to move between devices.

Shapes: B rows, C cameras, L text tokens, P sequences of T tokens.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from train import model, siglip
from train.config import ModelConfig
from train.model import Batch, Context
from train.params import Params

if TYPE_CHECKING:  # a training step must need only JAX and optax (benchmarks/train_step.py)
    from train.batches import NumpyBatch

PLACE, SEQUENCE, ACTING = "packed_place", "packed_from", "packed_acting"


@dataclass(frozen=True)
class Packing:
    """The shapes of a run's packed batches.

    Attributes:
        sequences: P, number of sequences.
        length: T, tokens per sequence: as many as the longest possible row has.
        images: number of images that are encoded.
        acting: number of rows that the expert runs for.
        prefix: number of prefix tokens that the expert can read of each of these rows.
        image_tokens: tokens per image.
        state: whether the backbone takes a continuous state as a token.
    """

    sequences: int
    length: int
    images: int
    acting: int
    prefix: int
    image_tokens: int
    state: bool


def sequences_of(sizes: NDArray[np.int64], length: int) -> list[list[int]]:
    """Returns the rows of each sequence. The longest rows come first, and each goes where it leaves the least room."""
    out: list[list[int]] = []
    room: list[int] = []
    for row in np.argsort(-sizes, kind="stable").tolist():
        fits = [(left, at) for at, left in enumerate(room) if left >= sizes[row]]
        if not fits:
            out.append([])
            room.append(length)
        at = min(fits)[1] if fits else len(out) - 1
        out[at].append(row)
        room[at] -= int(sizes[row])
    return out


def pack(batch: "NumpyBatch", packing: Packing | None) -> "NumpyBatch":
    """Adds to a batch where its parts are in sequences; returns it as it is if it does not fit.

    Args:
        batch: batch from `Batcher`.
        packing: shapes; None packs nothing.

    Returns:
        The batch with these arrays, int32 unless they are bool:
        packed_images (images,): the images to encode, as indices into B * C;
        packed_from (P, T): the token at this place, counted through images, then states, then text;
        packed_row (P, T): the row of this token, -1 if there is none;
        packed_ar (P, T) bool: True on suffixes;
        packed_place (B, L): the place of each text token in P * T, 0 if there is none;
        packed_acting (acting,): the rows that the expert runs for;
        packed_prefix (acting, prefix): the places of their prefix tokens in P * T, -1 if there is none.
    """
    if packing is None:
        return batch
    p, (rows, length) = packing, batch["tokens"].shape
    images = np.flatnonzero(batch["image_mask"])
    acts = np.asarray(batch["action_mask"].any(axis=(1, 2)))
    owner = images // max(batch["image_mask"].shape[1], 1)
    text = p.images * p.image_tokens + rows * p.state
    sources = []
    for row in range(rows):
        seen = np.flatnonzero(owner == row)[:, None] * p.image_tokens + np.arange(p.image_tokens)
        state = [p.images * p.image_tokens + row] if p.state and batch["state_mask"][row] else []
        words = text + row * length + np.flatnonzero(batch["token_mask"][row])
        sources.append(np.concatenate([seen.ravel(), np.array(state, np.int64), words]))
    together = sequences_of(np.array([len(source) for source in sources]), p.length)
    if len(together) > p.sequences or len(images) > p.images or acts.sum() > p.acting:
        return batch
    out: NumpyBatch = {
        "packed_images": np.resize(images, p.images) if len(images) else np.zeros(p.images, np.int32),
        SEQUENCE: np.zeros((p.sequences, p.length), np.int32),
        "packed_row": np.full((p.sequences, p.length), -1, np.int32),
        "packed_ar": np.zeros((p.sequences, p.length), bool),
        PLACE: np.zeros((rows, length), np.int32),
        ACTING: np.argsort(~acts, kind="stable")[: p.acting],
        "packed_prefix": np.full((p.acting, p.prefix), -1, np.int32),
    }
    prefixes: dict[int, NDArray[np.int64]] = {}
    for sequence, its in enumerate(together):
        at = 0
        for row in its:
            source = sources[row]
            here = slice(at, at + len(source))
            words = source[source >= text] - text - row * length
            places = sequence * p.length + np.arange(at, at + len(source))
            out[SEQUENCE][sequence, here], out["packed_row"][sequence, here] = source, row
            causal = np.zeros(len(source), bool)
            causal[len(source) - len(words) :] = batch["token_ar"][row, words]
            out["packed_ar"][sequence, here] = causal
            out[PLACE][row, words] = places[len(source) - len(words) :]
            prefixes[row] = places[~causal]
            at += len(source)
    for place, row in enumerate(out[ACTING].tolist()):
        if len(prefixes[row]) > p.prefix:
            if acts[row]:
                return batch
            continue
        out["packed_prefix"][place, : len(prefixes[row])] = prefixes[row]
    return batch | {name: x if x.dtype == bool else x.astype(np.int32) for name, x in out.items()}


def run_backbone(params: Params, batch: Batch, config: ModelConfig) -> Context:
    """Runs the backbone on a packed batch, as `model.run_backbone` does on other batches.

    Its context has the hidden states of the sequences (P, T, width), and keys and values of the prefixes of rows that act.
    """
    x = _embed(params, batch, config)[batch[SEQUENCE]]
    row, causal = batch["packed_row"], batch["packed_ar"]
    earlier = jnp.tril(jnp.ones((row.shape[1],) * 2, bool))
    same = (row[:, :, None] == row[:, None, :]) & (row >= 0)[:, None, :]
    positions = jnp.sum(same & earlier, axis=2) - 1
    hidden, keys, values = model.run_backbone_layers(
        params, x, same & (earlier | ~causal[:, None, :]), positions, config
    )
    prefix = batch["packed_prefix"]

    def of_prefix(x: Array) -> Array:
        return x.reshape(x.shape[0], -1, x.shape[-1])[:, jnp.maximum(prefix, 0)]

    state = None
    if config.state_token == "expert":
        state = batch["state"][batch[ACTING]], batch["state_mask"][batch[ACTING]]
    return Context(hidden, of_prefix(keys), of_prefix(values), prefix >= 0, jnp.zeros(prefix.shape, bool), state)


def _embed(params: Params, batch: Batch, config: ModelConfig) -> Array:
    """Returns the tokens of images, states and text, one after the other: (N, width)."""
    parts: list[Array] = []
    if batch["packed_images"].size:
        images = batch["images"].reshape(-1, *batch["images"].shape[2:])[batch["packed_images"]]
        seen = siglip.encode(params["vision"], model.pixels(images, config.dtype), config.patch, config.remat)
        parts.append(seen.reshape(-1, config.width))
    if config.state_token == "backbone":
        parts.append(model.linear(batch["state"], params["backbone"]["state_in"]).astype(config.dtype))
    parts.append(model.embed_text(params, batch["tokens"].reshape(-1), config))
    return jnp.concatenate(parts)


def acting(batch: Batch) -> Batch:
    """Returns the rows that the expert runs for; all rows if the batch is not packed."""
    if ACTING not in batch:
        return batch
    return {name: x[batch[ACTING]] for name, x in batch.items() if not name.startswith(("packed_", "image"))}
