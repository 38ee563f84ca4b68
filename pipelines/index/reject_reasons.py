"""Why most records of a dataset were left out, each reason with its commonest detail: what a person needs to act on it.

Details are in Parquet tables; of each reason only the tables of the run that has most of it are read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from fasttok.episodes.index import read_parquet
from pipelines.common.files import join
from pipelines.index.run_summary import RunPlace, RunSummary

NAMED = 3  # reasons of a dataset
LONGEST = 300  # characters of a detail


@dataclass(frozen=True)
class RejectReason:
    """One reason for which records of a dataset were left out.

    Attributes:
        reason: the short phrase under which they are counted.
        records: how many.
        detail: what was found, for most of them in one run of source files.
        where: one of them.
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
    """The most frequent reasons of a dataset, the first first.

    Args:
        dataset: its name.
        summaries: of all runs of jobs.
        filtered: whether records count that only the entry's filters do not want.
        robot: whether they are episodes.
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
    """The files that list all rejected records of a dataset, for messages."""
    return f"{out.rstrip('/')}/{dataset}/*/*.rejected.parquet"


def told(reasons: Sequence[RejectReason], out: str, dataset: str) -> str:
    """Reasons and the place of the tables in one sentence."""
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
