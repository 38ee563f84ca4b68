"""Compares the episodes, steps and frequency that a dataset declares with what is there, and reports unreadable records."""

import re

import pyarrow.parquet as pq

from fasttok.common import stores
from fasttok.episodes import lerobot_info, lerobot_meta
from fasttok.episodes.episode import BadRecord
from pipelines.check.dataset_findings import DatasetFinding, FoundAt
from pipelines.check.open_dataset import OpenedDataset
from pipelines.check.read_sample import Rejects

MOST_FILES = 20_000  # with more tables, rows are not counted from their footers
UNITS = ((1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds"))
FACTORS = {name: factor for factor, name in UNITS}
GROWS = re.compile(r"grows by ([-+.\deE]+) s a step, but fps ([-+.\deE]+)")
TODO = {
    "missing": "download or record again what is missing, or correct what the dataset declares",
    "undeclared": "correct what the dataset declares, or remove the files that are left from an earlier recording",
    "frames": "remove these episodes or write them again: chunks are cut from neighbouring rows",
    "crc": "copy the file again from its source: bytes have changed",
    "truncated": "copy the file again from its source: it ends too early",
    "video": "copy the video again from its source, or encode it again from the recording",
}
OTHER = "look at this record; `index` leaves such records out and counts them (--max-bad)"


def check_rejects(rejects: Rejects) -> list[DatasetFinding]:
    """Reports records that cannot be used, one finding per split and reason."""
    findings = []
    for (split, reason), record in rejects.first.items():
        count = rejects.counts[split, reason]
        total = rejects.read.get(split, 0) + sum(n for (of, _), n in rejects.counts.items() if of == split)
        unit = _unit(record.detail)
        times = "timestamp" in record.detail
        what = f"{count:,} of {total:,} records cannot be used ({reason}): {record.detail}"
        todo = TODO.get(reason, OTHER)
        if unit:
            what += f"; these look like {unit}"
            todo = f"write time stamps in seconds: divide them by {FACTORS[unit]:,.0f}"
        elif times:
            todo = "remove the episode, cut it at the gap, or correct fps; chunks are cut from evenly spaced steps"
        findings.append(
            DatasetFinding(
                "error", "timestamps" if times else "declared", _place(split, record), what, todo, count=count
            )
        )
    return findings


def check_declared(dataset: OpenedDataset) -> list[DatasetFinding]:
    """Checks the counts that a LeRobot dataset declares, as far as possible without reading all episodes."""
    if dataset.form.startswith("LeRobot"):
        return _lerobot(dataset.path)
    return []


def _lerobot(path: str) -> list[DatasetFinding]:
    info = lerobot_info.open_info(path)
    filesystem, root = stores.filesystem(path)
    tables = [file for file in filesystem.find(f"{root}/data") if file.endswith(".parquet")]
    findings: list[DatasetFinding] = []
    where = FoundAt(f"{path}/{lerobot_info.INFO}")
    if info.total_frames is not None and len(tables) <= MOST_FILES:
        rows = 0
        for file in tables:
            try:
                with filesystem.open(file, "rb") as stream:
                    rows += pq.ParquetFile(stream).metadata.num_rows
            except (OSError, ValueError):
                return findings  # the reader reports a damaged table
        if rows != info.total_frames:
            what = f"total_frames is {info.total_frames:,}, the tables in data/ have {rows:,} rows"
            findings.append(DatasetFinding("error", "declared", where, what, TODO["missing"]))
    lengths = lerobot_meta.episode_lengths(path)
    if info.total_episodes is not None and lengths and len(lengths) != info.total_episodes:
        what = f"total_episodes is {info.total_episodes:,}, meta/ lists {len(lengths):,} episodes"
        findings.append(DatasetFinding("error", "declared", where, what, TODO["undeclared"]))
    if info.fps is None:
        todo = "write fps into meta/info.json, or control_hz into the entry"
        findings.append(DatasetFinding("warning", "declared", where, "fps is not recorded", todo, "control_hz: 30"))
    return findings


def _unit(detail: str) -> str:
    """Returns the unit of time stamps that are not in seconds, as the reader's message shows it; "" if it does not."""
    found = GROWS.search(detail)
    if found is None:
        return ""
    ratio = float(found[1]) * float(found[2])
    return next((name for factor, name in UNITS if 0.8 < ratio / factor < 1.25), "")


def _place(split: str, record: BadRecord) -> FoundAt:
    number = re.search(r"episode (\d+)", record.detail)
    step = re.search(r"at step (\d+)", record.detail)
    return FoundAt(
        record.where.file, int(number[1]) if number else record.where.number, int(step[1]) if step else None, "", split
    )
