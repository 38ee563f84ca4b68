"""Compares predicted chunks with demonstrated ones on held-out shards (open loop), per dimension in the units of the data."""

import math
import time
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fasttok.common.console import track
from fasttok.common.evenly import evenly
from fasttok.common.urls import as_typed
from fasttok.errors import InputError
from pipelines.shards import ShardReader
from train.examples import Encoder
from train.judging.held_out_rows import demonstrated, fitting_encoder, without_repeat
from train.judging.measurements import DRAWS, ActionErrors, Decoding, normalized_rmse, usual_ms
from train.player import Player
from train.recipe import recipe_of


def action_errors(
    player: Player,
    shards: Path,
    most: int,
    decode: Decoding,
    draws: int = DRAWS,
    embodiments: Collection[str] | None = None,
) -> list[ActionErrors]:
    """Measures the errors on evenly spaced robot rows of `shards`, per embodiment.

    A demonstration is one of many things that could have been done. Even a policy that samples all of them perfectly has an error
    of sqrt(2) times their spread with one sample, and of sqrt(1 + 1 / draws) times with the mean of several. So the mean is
    compared.

    Args:
        player: the run.
        shards: rows that the run was not trained on, such as a mixture of `split: val` sources.
        most: maximum rows per embodiment. A row that the shards repeat is compared once.
        decode: how actions are predicted.
        draws: samples per chunk. It is one if all samples would be equal: for recipes that draw no noise, and for tokens that are
            decoded greedily.
        embodiments: embodiments to measure; None: all of the shards.

    Raises:
        InputError: `shards` is not a folder of shards, has no robot rows, or has embodiments or chunks that the run does not
            know; or an embodiment moves in none of the rows that are compared.
    """
    reader = ShardReader(as_typed(shards))
    ours = player.encoder
    encoder = fitting_encoder(reader.manifest, ours, player.config, shards, embodiments=embodiments)
    robots = encoder.robots
    chosen: dict[str, list[tuple[int, int]]] = {}  # number and horizon of each row, by embodiment
    parts = (part for shard in range(len(reader.manifest.shards)) for part in reader.record_batches(shard))
    for number, name in enumerate(name for part in parts for name in part.column("source").to_pylist()):
        if name in robots.robots:
            robot = robots.robots[name]
            chosen.setdefault(robot.embodiment, []).append((number, robot.horizon))
    if not chosen:
        of = "" if embodiments is None else f" of {', '.join(embodiments)}"
        raise InputError(f"{shards} contains no robot rows{of}")
    out = []
    for embodiment, rows in chosen.items():
        spaced = [rows[i] for i in evenly(len(rows), most)]
        out.append(_of_embodiment(player, encoder, reader, embodiment, spaced, decode, draws))
    return out


def _of_embodiment(
    player: Player,
    encoder: Encoder,
    reader: ShardReader,
    embodiment: str,
    numbered: list[tuple[int, int]],
    decode: Decoding,
    draws: int,
) -> ActionErrors:
    wrong: list[NDArray[np.float32]] = []
    right: list[NDArray[np.float32]] = []
    drawn = recipe_of(player.config).drawn if decode == "flow" else player.temperature > 0
    seconds: list[float] = []
    draws = draws if drawn else 1
    seen: set[tuple[str, str, str]] = set()
    for numbers in track(_batches(numbered, player.batch), f"held-out actions of {embodiment}", unit="batches"):
        every = {without_repeat(row): row for row in map(reader.row, numbers)}
        rows = [row for key, row in every.items() if key not in seen]
        if not rows:
            continue
        seen |= every.keys()
        examples = [encoder.acting(row) for row in rows]
        drawn_chunks = []
        for _ in range(draws):
            began = time.monotonic()
            drawn_chunks.append(player.predict(examples, embodiment, decode))
            seconds.append((time.monotonic() - began) / player.batch)  # what lacks to a batch is filled up and computed
        chunks = np.mean(drawn_chunks, axis=0)
        for row, example, chunk in zip(rows, examples, chunks, strict=True):
            right.append(demonstrated(row, example))
            wrong.append(chunk[: example.steps] - right[-1])
    errors, spread = np.concatenate(wrong).astype(np.float64), np.concatenate(right).astype(np.float64).std(0)
    rmse = np.sqrt(np.mean(errors**2, axis=0))
    relative = normalized_rmse(rmse, spread)
    if math.isnan(relative):
        raise InputError(
            f"{embodiment}: no action dimension moves in the {len(right)} held-out rows, so there is nothing to predict; give "
            "other shards, or compare more rows (--held-out-rows)"
        )
    return ActionErrors(
        embodiment=embodiment,
        decode=decode,
        draws=draws,
        rows=len(right),
        names=player.robot(embodiment).action_names,
        rmse=tuple(rmse.tolist()),
        mae=tuple(np.mean(np.abs(errors), axis=0).tolist()),
        spread=tuple(spread.tolist()),
        nrmse=relative,
        ms_per_chunk=usual_ms(seconds),
    )


def _batches(numbered: list[tuple[int, int]], size: int) -> list[list[int]]:
    """Divides rows into batches of one horizon each, as the sources of one embodiment may have chunks of several lengths.

    >>> _batches([(0, 8), (1, 4), (2, 8), (3, 8)], 2)
    [[0, 2], [3], [1]]

    Args:
        numbered: number and horizon of each row.
        size: maximum rows per batch.

    Returns:
        The numbers of the rows of each batch.
    """
    by_horizon: dict[int, list[int]] = {}
    for number, horizon in numbered:
        by_horizon.setdefault(horizon, []).append(number)
    return [part[first : first + size] for part in by_horizon.values() for first in range(0, len(part), size)]
