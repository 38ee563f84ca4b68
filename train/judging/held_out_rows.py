"""Chooses the held-out rows to measure a run on, and checks that the run can read them and does not train on them."""

import dataclasses
import hashlib
import heapq
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common.urls import as_typed
from fasttok.errors import InputError
from pipelines.shards import ShardReader
from pipelines.shards.manifest import Manifest
from train.acting.robots import Robots, as_words
from train.config import ModelConfig
from train.examples import Encoder, Example
from train.runs.checkpoint import Checkpoints
from train.setup import Setup
from train.texts.shard_texts import rounded

logger = logging.getLogger(__name__)
LOOKS = {
    "prompts": "templates of prompts",
    "renamed": "renamed cameras",
    "resize": "size of images",
    "subtask": "subtasks",
}
"""What a mixture may change in the rows of a robot without changing their numbers -> how to call it."""
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HeldOutRow:
    """A held-out row to measure a run on.

    Attributes:
        number: place of the row among all measured rows; its noise depends on this number.
        example: what the model sees, and what it should predict.
        embodiment: embodiment that acts; "" if the row has no actions.
        demonstrated: (steps, D) actions in the units of the shards, without padding after the episode's end; (0, 0) for none.
    """

    number: int
    example: Example
    embodiment: str
    demonstrated: NDArray[np.float32]


def read_rows(setup: Setup, shards: Path, most: int) -> tuple[list[HeldOutRow], str]:
    """Returns the rows of `shards` to measure a run on: the same rows each time, spread evenly over kinds and sources.

    Args:
        setup: setup of the run.
        shards: shards that the run is not trained on.
        most: maximum number of rows.

    Returns:
        The rows, and a digest that differs if the rows differ.

    Raises:
        InputError: the run trains on these rows, or a row does not fit the run.
    """
    reader, kinds, encoder = ShardReader(as_typed(shards)), setup.config.data.kinds, setup.encoder
    refuse_trained_on(setup, reader.manifest, shards)
    encode = fitting_encoder(reader.manifest, encoder, setup.model, shards, acts="robot" in kinds)
    at = spread_rows(reader, kinds, most, shards)
    slots = set(encoder.slots)
    out: list[HeldOutRow] = []
    seen: dict[tuple[str, str, str], str] = {}
    for row in reader.take(*at).rows():
        if (key := without_repeat(row)) in seen:
            continue
        seen[key] = f"{row['source']} {row['sample_id']}"
        example, which = encode.row(row), f"row {row['sample_id']} of source {row['source']}"
        length = len(example.prefix) + len(example.suffix)
        if length > setup.batcher.length:
            raise InputError(
                f"--held-out {shards}: {which} has {length} tokens of text, more than the "
                f"{setup.batcher.length} of this run; train with --data.text-length {rounded(length)}"
            )
        if slots and row["kind"] == "robot" and not slots & set(example.images):
            raise InputError(
                f"--held-out {shards}: {which} has no image of a camera that this run sees ({', '.join(encoder.slots)})"
            )
        out.append(_held_out_row(len(out), row, example, encode))
    setup.batcher([row.example for row in out])  # an image that cannot be decoded is found here, not at step 10,000
    text = "\n".join([reader.digest, *sorted(seen.values())])
    return out, hashlib.sha256(text.encode()).hexdigest()[:16]


def without_repeat(row: Mapping[str, str]) -> tuple[str, str, str]:
    """Returns what a row and its repeats have in common; shards repeat a source, with the same or with other words.

    >>> without_repeat({"sample_id": "bridge/a.tfrecord/7/0/1", "prompt": "lift it", "target": ""})
    ('bridge/a.tfrecord/7/0', 'lift it', '')
    """
    return row["sample_id"].rpartition("/")[0], row["prompt"], row["target"]


def _held_out_row(number: int, row: dict[str, Any], example: Example, encode: Encoder) -> HeldOutRow:
    if example.actions is None:
        return HeldOutRow(number, example, "", np.zeros((0, 0), np.float32))
    return HeldOutRow(number, example, encode.robots.robots[row["source"]].embodiment, demonstrated(row, example))


def demonstrated(row: Mapping[str, Any], example: Example) -> NDArray[np.float32]:
    """Returns the (steps, D) actions of a row in the units of the shards, without padding after the episode's end."""
    return np.asarray(row["action"], np.float32).reshape(example.horizon, example.dim)[: example.steps]


def fitting_encoder(
    manifest: Manifest,
    ours: Encoder,
    model: ModelConfig,
    shards: Path,
    acts: bool = True,
    embodiments: Collection[str] | None = None,
) -> Encoder:
    """Returns an encoder for rows of other shards that makes examples as the run does, with its tokenizers and its cameras.

    Args:
        manifest: manifest of the other shards.
        ours: encoder of the run.
        model: model configuration of the run.
        shards: path of the other shards, for messages.
        acts: whether their robot rows are used at all.
        embodiments: the embodiments whose rows are used; None: all.

    Raises:
        InputError: the shards have a robot that the run does not know, or its actions or states in another form.
    """
    robots = dataclasses.replace(Robots.of(manifest, ours.data.kinds), slots=ours.slots)
    used = {
        name: robot
        for name, robot in robots.robots.items()
        if acts and (embodiments is None or robot.embodiment in embodiments)
    }
    robots = dataclasses.replace(robots, robots=used)
    for name, robot in robots.robots.items():
        known = [one for one in ours.robots.robots.values() if one.embodiment == robot.embodiment]
        if not known:
            knows = ", ".join(dict.fromkeys(one.embodiment for one in ours.robots.robots.values())) or "no robot"
            raise InputError(
                f"{shards}: the run was not trained on embodiment {robot.embodiment!r} of source {name}; it knows {knows}"
            )
        for key in ("horizon", "action_dim", "action_encoding", "state_dim", "representation"):
            has, wanted = getattr(robot, key), [getattr(one, key) for one in known]
            if has not in wanted:
                raise InputError(
                    f"{shards}: {key} of {robot.embodiment} is {has} in source {name}, the run's {wanted[0]}; build shards "
                    "with the same chunk and action form as those that the run was trained on"
                )
        for key, what in LOOKS.items():
            has, wanted = getattr(robot, key), [getattr(one, key) for one in known]
            if has not in wanted:
                logger.warning(
                    f"warning: {what} of {robot.embodiment} in source {name} of {shards}: {as_words(has)}; the run's: "
                    f"{as_words(wanted[0])}. So these rows look different from those that it learned; build them with the same "
                    "settings in the mixture"
                )
    theirs = Encoder(robots, ours.text, model, ours.data, ours.tok)
    theirs.control = ours.control  # the run's prompts say this, whatever the other shards call the columns
    return theirs


def refuse_trained_on(setup: Setup, manifest: Manifest, shards: Path) -> None:
    """Refuses the rows that a run trains on, and warns of other rows from a split that it trains on.

    Raises:
        InputError: the shards are the run's own, a copy of them, or the same rows, built again.
    """
    ours, kinds = setup.reader.manifest, setup.config.data.kinds
    same_rows = (manifest.plan_digest, manifest.index_digest) == (ours.plan_digest, ours.index_digest)
    if manifest.digest == ours.digest or same_rows:
        raise InputError(
            f"--held-out {shards} contains the rows that the run trains on, so its numbers would say how well they are learned "
            "by heart; build shards of other episodes, with sources of another split (split: val), or leave --held-out out"
        )
    trained = [
        (s.dataset, s.split, ours.part_of(name)) for name, s in ours.sources.items() if s.kind in kinds and s.written
    ]
    shared = [
        name
        for name, s in manifest.sources.items()
        if s.kind in kinds
        and any(
            (s.dataset, s.split) == (dataset, split) and _overlap(part, manifest.part_of(name))
            for dataset, split, part in trained
        )
    ]
    if shared:
        logger.warning(
            f"warning: {', '.join(shared)} of --held-out {shards} is of a split that the run trains on, so its rows may be of "
            "episodes that it has seen; build it from another split (split: val) or another part of it (filters: part)"
        )


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Returns whether two parts of a split share records."""
    return one[0] < other[1] and other[0] < one[1]


def warn_of_training_rows(run: Path, manifest: Manifest, shards: Path) -> None:
    """Warns if a run was trained on these very shards."""
    checkpoints = Checkpoints(run)
    position = checkpoints.position()
    checkpoints.close()
    if position is not None and position.manifest == manifest.digest:
        logger.warning(
            f"warning: {run} was trained on {shards}, so these errors say how well it has learned them by heart; give shards of "
            "other episodes with --held-out (docs/splits.md)"
        )


def spread_rows(reader: ShardReader, kinds: Collection[str], most: int, shards: Path) -> tuple[IntArray, IntArray]:
    """Chooses up to `most` rows: at least one per source, equally many per kind, within a kind equally many per source.

    The rows of a source are evenly spaced.

    Args:
        reader: reader of the shards.
        kinds: kinds of rows to choose from.
        most: maximum number of rows. If a kind or source has too few rows, the others get its share.
        shards: path of the shards, for messages.

    Returns:
        (n,) numbers of shards and (n,) numbers of rows in them, source by source.

    Raises:
        InputError: there are no rows of these kinds, or `most` is less than the number of sources.
    """
    layout, sources = reader.layout, reader.manifest.sources
    there = {name: int(n) for name, n in zip(layout.names, layout.source_rows, strict=True) if n}
    by_kind = {kind: [name for name in there if sources[name].kind == kind] for kind in kinds}
    by_kind = {kind: names for kind, names in by_kind.items() if names}
    count = sum(map(len, by_kind.values()))
    if not count:
        raise InputError(f"--held-out {shards} contains no rows of kind {', '.join(kinds)}, which this run trains on")
    if most < count:
        raise InputError(
            f"--held-out-rows is {most}, fewer than the {count} sources of {shards}; give at least {count}"
        )
    room = [sum(there[name] for name in names) for names in by_kind.values()]
    parts = even_parts(most, room, least=[len(names) for names in by_kind.values()])
    at = []
    for names, part in zip(by_kind.values(), parts, strict=True):
        for name, rows in zip(names, even_parts(part, [there[name] for name in names]), strict=True):
            index = np.unique(np.linspace(0, there[name] - 1, rows).astype(np.int64))
            at.append(layout.locate(np.full(len(index), layout.names.index(name)), index))
    return np.concatenate([shard for shard, _ in at]), np.concatenate([row for _, row in at])


def even_parts(total: int, room: Sequence[int], least: Sequence[int] = ()) -> list[int]:
    """Divides `total` into parts that are as equal as the least and the room of each allow; () for a least of 0 each.

    >>> even_parts(10, [100, 2, 100]), even_parts(4, [1, 1]), even_parts(5, [9, 9, 9])
    ([4, 2, 4], [1, 1], [2, 2, 1])
    >>> even_parts(4, [90, 9], least=[3, 1]), even_parts(7, [90, 9], least=[3, 1])
    ([3, 1], [4, 3])
    """
    out = list(least) or [0] * len(room)
    smallest = [(part, i) for i, part in enumerate(out) if part < room[i]]
    heapq.heapify(smallest)
    for _ in range(total - sum(out)):
        if not smallest:
            break
        part, i = heapq.heappop(smallest)
        out[i] = part + 1
        if out[i] < room[i]:
            heapq.heappush(smallest, (out[i], i))
    return out
