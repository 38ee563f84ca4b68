"""Finds the most frequent reasons for which records of a dataset were left out, each with its most common detail.

With the detail a user can act on the reason. Details are in Parquet tables. For each reason, only the tables of the run of jobs
with the most such records are read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from fasttok.episodes.index import read_parquet
from pipelines.common.files import join
from pipelines.index.run_summary import RunPlace, RunSummary

NAMED = 3  # number of reasons per dataset
LONGEST = 300  # characters of a detail; the rest is cut off


@dataclass(frozen=True)
class RejectReason:
    """One reason for which records of a dataset were left out.

    Attributes:
        reason: short phrase by which records are counted.
        records: number of records in the whole dataset.
        detail: what was found; the most common text in one run of jobs.
        where: file and number of one such record.
    """

    reason: str
    records: int
    detail: str
    where: str

    def __str__(self) -> str:
        return f"{self.records} {self.reason}: {self.detail} ({self.where})"


def frequent_reasons(
    dataset: str, summaries: Mapping[RunPlace, RunSummary], filtered: bool = False, robot: bool = True
) -> list[RejectReason]:
    """Returns the most frequent reasons of a dataset, the most frequent one first.

    Args:
        dataset: name of the dataset.
        summaries: run of jobs -> its summary, for all runs.
        filtered: whether records that the entry's filters do not want count, too.
        robot: whether the records are robot episodes.
    """
    total = Counter[str]()
    most: dict[str, tuple[int, RunPlace]] = {}
    for run, summary in summaries.items():
        if run.dataset == dataset:
            found = Counter(summary.counts.rejected) + (Counter(summary.counts.filtered) if filtered else Counter())
            total += found
            for reason, count in found.items():
                if count > most.get(reason, (0, run))[0]:
                    most[reason] = (count, run)
    return [
        _reason(most[reason][1], summaries[most[reason][1]], reason, count, robot)
        for reason, count in total.most_common(NAMED)
    ]


def tables_of(out: str, dataset: str) -> str:
    """Returns the pattern of the files that list all rejected records of a dataset, for messages."""
    return f"{out.rstrip('/')}/{dataset}/*/*.rejected.parquet"


def told(reasons: Sequence[RejectReason], out: str, dataset: str) -> str:
    """Returns the reasons, and where the tables are, in one sentence."""
    return f"{'; '.join(map(str, reasons))}; every one is in {tables_of(out, dataset)}"


def _reason(run: RunPlace, summary: RunSummary, reason: str, count: int, robot: bool) -> RejectReason:
    paths = (join(run.out, run.dataset, run.split, f"{stem}.rejected.parquet") for stem in summary.tables)
    tables = (read_parquet(path, ["file", "offset", "episode", "reason", "detail"]) for path in paths)
    rows = [row for table in tables for row in table.filter(pc.equal(table["reason"], reason)).to_pylist()]
    (detail, _), *_ = Counter(row["detail"] for row in rows).most_common(1)
    first = next(row for row in rows if row["detail"] == detail)
    text = detail if len(detail) <= LONGEST else f"{detail[:LONGEST]} ..."
    number = f"{'episode' if robot and first['offset'] < 0 else 'record'} {first['episode']}"
    return RejectReason(reason, count, text, f"{first['file']}, {number}")
