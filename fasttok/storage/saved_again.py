"""Notices what another program left out when it saved a folder of ours again.

A processor of transformers saves the vocabulary and the fields that it knows. It drops norm_stats.json and the `fasttok` block
of processor_config.json; without these, raw actions would be taken for normalised ones. But it keeps all of
tokenizer_config.json, so that file says, under `fasttok`, what the folder contained when fasttok saved it.
"""

import json
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fasttok.common import json_files
from fasttok.errors import InputError

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1


@dataclass(frozen=True)
class SavedAs:
    """The `fasttok` block of tokenizer_config.json.

    Attributes:
        format_version: version of this block's format.
        fingerprint: fingerprint of the tokenizer.
        max_token: largest coefficient that has a code; None if it is unknown.
        embodiments: names of the embodiments that are described in processor_config.json.
        statistics: names of the embodiments whose action statistics are in norm_stats.json; "" is the only one without a name.
    """

    format_version: int
    fingerprint: str
    max_token: int | None
    embodiments: tuple[str, ...]
    statistics: tuple[str, ...]


def read(file: Path) -> SavedAs | None:
    """Reads the block of a tokenizer_config.json; None if there is none, as in folders of fasttok 0.1.0 and published ones.

    Raises:
        InputError: the file or the block is damaged.
    """
    if not file.is_file():
        return None
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is not JSON: {error}") from None
    block = raw.get("fasttok") if isinstance(raw, dict) else None
    return None if block is None else json_files.decode(SavedAs, block, f"{file}: fasttok", FORMAT_VERSION)


def check(
    saved: SavedAs, path: Path, file: Path, embodiments: Collection[str] | None, statistics: Collection[str]
) -> None:
    """Refuses a folder that lacks what it contained when fasttok saved it.

    Args:
        saved: what it contained.
        path: the folder.
        file: the tokenizer_config.json that says so.
        embodiments: embodiments that processor_config.json describes; None if it has no `fasttok` block.
        statistics: embodiments that have action statistics.

    Raises:
        InputError: something is missing; the message says what, and where to get it.
    """
    missing = []
    if embodiments is None and saved.embodiments:
        missing.append("the `fasttok` block of processor_config.json, which says what is tokenised of each embodiment")
    if lost := [name or "the data" for name in saved.statistics if name not in statistics]:
        missing.append(
            f"the statistics of {', '.join(lost)} in norm_stats.json, without which actions are not normalised"
        )
    if missing:
        raise InputError(
            f"{path} was saved by fasttok (fingerprint {saved.fingerprint}), and lacks now {'; and '.join(missing)}. "
            "Programs that save a folder again leave these out (save_pretrained does). Copy processor_config.json and "
            f"norm_stats.json from the folder that fasttok saved. If your actions are normalised already: remove `fasttok` from "
            f"{file}"
        )


def warn_of_unmarked(path: Path, statistics: bool) -> None:
    """Warns of a folder without either block whose vocabulary only fasttok fits.

    fasttok 0.1.0 saved such a folder, and another program saved it again.
    """
    without = (
        "what is tokenised of each embodiment" if statistics else "statistics, so actions must be normalised already"
    )
    logger.warning(
        f"{path}: the vocabulary is a native fit of fasttok, but another program saved the folder again, without {without}. If "
        "the first folder had more (norm_stats.json, `fasttok` in processor_config.json), copy it from there"
    )


def warn_of_other(path: Path, saved: str, now: str) -> None:
    """Warns of a folder whose contents are not those that fasttok saved: somebody changed them, or they are damaged.

    Args:
        path: the folder.
        saved: fingerprint of what fasttok saved.
        now: fingerprint of what the folder contains.
    """
    logger.warning(
        f"{path}: its vocabulary, settings or statistics are not those that fasttok saved (fingerprint {saved}, now {now}), so "
        "earlier ids, and runs that learned them, mean other actions. If you did not change them, copy the folder again from "
        "where it came"
    )
