"""Dead letters of a build: frames from which no row could be made. SHARDS/rejected/shard-....jsonl has one per line."""

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
    """A frame, or all planned frames of a record, from which no row could be made.

    Attributes:
        source: name of the source in the mixture.
        file: source file, relative to its dataset's directory.
        offset: byte offset of the source record in the file; -1 if the record has no byte range.
        episode: number of the record in its file.
        step: step within the episode; None for all planned steps.
        reason: what is wrong, in one word.
        detail: what is wrong, in a sentence.
        rows: number of planned rows that are missing because of it.
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
    """Returns the path of a shard's dead letters. The file exists only if there are some."""
    return join(folder, "rejected", shard_name(shard, total).replace(".arrow", ".jsonl"))


def to_lines(letters: Iterable[DeadLetter]) -> str:
    """Returns the text of a file of dead letters: one JSON object per line."""
    values = (json_files.encode(letter) for letter in letters)
    return "".join(json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n" for value in values)


def example(folder: str, shard: int, total: int, reason: str, robots: Container[str]) -> str:
    """Describes the first dead letter of a shard with this reason; "" if the shard's dead letters are gone.

    Args:
        folder: path or URL of SHARDS.
        shard: number of the shard.
        total: number of all shards.
        reason: reason of the dead letter.
        robots: names of the sources whose records are episodes.
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
    """Returns reason -> number of missing rows."""
    counts: Counter[str] = Counter()
    for letter in letters:
        counts[letter.reason] += letter.rows
    return dict(counts)


def source_reasons(folder: str, shards: Iterable[int], total: int, source: str) -> dict[str, int]:
    """Returns reason -> number of missing rows, for one source in some shards.

    Args:
        folder: path or URL of SHARDS.
        shards: numbers of the shards that lack rows of the source.
        total: number of all shards.
        source: name of the source.
    """
    counts: Counter[str] = Counter()
    for shard in shards:
        path = rejected_path(folder, shard, total)
        with open_file(path) as stream:
            letters = (json_files.read(DeadLetter, line.decode(), path) for line in stream)
            counts.update(rows_by_reason(letter for letter in letters if letter.source == source))
    return dict(counts)
