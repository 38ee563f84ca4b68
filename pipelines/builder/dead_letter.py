"""Dead letters of a build: frames of which no row could be made, SHARDS/rejected/shard-....jsonl with one of them per line."""

import json
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass

from fasttok.common import json_files
from fasttok.common.stores import open_file
from pipelines.common.files import join
from pipelines.shards.writer import shard_name


@dataclass(frozen=True)
class DeadLetter:
    """A frame, or all planned frames of a record, of which no row could be made.

    Attributes:
        source: source in the mixture.
        file: source file, relative to its dataset's directory.
        offset: byte offset of the source record in it.
        episode: number of the record in its file.
        step: step within the episode; None for all that were planned.
        reason: in one word.
        detail: in a sentence.
        rows: planned rows that are missing for it.
    """

    source: str
    file: str
    offset: int
    episode: int
    step: int | None
    reason: str
    detail: str
    rows: int


def rejected_path(folder: str, shard: int, total: int) -> str:
    """Where a shard's dead letters are, if it has any."""
    return join(folder, "rejected", shard_name(shard, total).replace(".arrow", ".jsonl"))


def to_lines(letters: Iterable[DeadLetter]) -> str:
    """The text of a file of dead letters."""
    values = (json_files.encode(letter) for letter in letters)
    return "".join(json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n" for value in values)


def example(folder: str, shard: int, total: int, reason: str, robots: Container[str]) -> str:
    """The first frame of a shard that was left out for a reason, in words; "" if the shard's dead letters are gone.

    Args:
        folder: SHARDS.
        shard: its number.
        total: how many there are.
        reason: of the dead letter.
        robots: sources whose records are episodes.
    """
    path = rejected_path(folder, shard, total)
    try:
        with open_file(path) as stream:
            for line in stream:
                letter = json_files.read(DeadLetter, line.decode(), path)
                if letter.reason == reason:
                    what = "episode" if letter.source in robots and letter.offset < 0 else "record"
                    return f"{letter.detail} ({letter.source}: {letter.file}, {what} {letter.episode})"
    except FileNotFoundError:
        pass
    return ""


def rows_by_reason(letters: Iterable[DeadLetter]) -> dict[str, int]:
    """Missing rows, by reason."""
    counts: Counter[str] = Counter()
    for letter in letters:
        counts[letter.reason] += letter.rows
    return dict(counts)


def source_reasons(folder: str, shards: Iterable[int], total: int, source: str) -> dict[str, int]:
    """Why rows of one source are missing from some shards.

    Args:
        folder: of the shards.
        shards: numbers of those that lack some.
        total: of all shards.
        source: its name.
    """
    counts: Counter[str] = Counter()
    for shard in shards:
        path = rejected_path(folder, shard, total)
        with open_file(path) as stream:
            letters = (json_files.read(DeadLetter, line.decode(), path) for line in stream)
            counts.update(rows_by_reason(letter for letter in letters if letter.source == source))
    return dict(counts)
