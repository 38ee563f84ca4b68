"""Why most records of a dataset were left out, each reason with its commonest detail: what a person needs to act on it.

Details lie in Parquet tables; of each reason only the table that has most of it is read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from fasttok.episodes.index import read_parquet
from pipelines.index.file_summary import FileSummary
from pipelines.index.job import IndexJob

NAMED = 3  # reasons of a dataset
LONGEST = 300  # characters of a detail


@dataclass(frozen=True)
class RejectReason:
    """One reason for which records of a dataset were left out.

    Attributes:
        reason: the short phrase under which they are counted.
        records: how many.
        detail: what was found, for most of them in one source file.
        where: one of them.
    """

    reason: str
    records: int
    detail: str
    where: str

    def __str__(self) -> str:
        return f"{self.records} {self.reason}: {self.detail} ({self.where})"


def frequent_reasons(
    dataset: str, jobs: Sequence[IndexJob], summaries: Mapping[str, FileSummary], filtered: bool = False
) -> list[RejectReason]:
    """The most frequent reasons of a dataset, the first first.

    Args:
        dataset: its name.
        jobs: of the INDEX.
        summaries: by the jobs' bases; a job without one is passed over.
        filtered: whether records count that only the entry's filters do not want.
    """
    total = Counter[str]()
    most: dict[str, tuple[int, IndexJob]] = {}
    for job in jobs:
        summary = summaries.get(job.base)
        if job.dataset != dataset or summary is None:
            continue
        found = Counter(summary.rejected) + (Counter(summary.filtered) if filtered else Counter())
        total += found
        for reason, count in found.items():
            if count > most.get(reason, (0, job))[0]:
                most[reason] = (count, job)
    return [_reason(most[reason][1], reason, count) for reason, count in total.most_common(NAMED)]


def tables_of(out: str, dataset: str) -> str:
    """Where all rejected records of a dataset are told, for messages."""
    return f"{out.rstrip('/')}/{dataset}/*/*.rejected.parquet"


def told(reasons: Sequence[RejectReason], out: str, dataset: str) -> str:
    """Reasons and the place of the tables in one sentence."""
    return f"{'; '.join(map(str, reasons))}; every one is in {tables_of(out, dataset)}"


def _reason(job: IndexJob, reason: str, count: int) -> RejectReason:
    table = read_parquet(f"{job.base}.rejected.parquet", ["file", "episode", "reason", "detail"])
    rows = table.filter(pc.equal(table["reason"], reason)).to_pylist()
    (detail, _), *_ = Counter(row["detail"] for row in rows).most_common(1)
    first = next(row for row in rows if row["detail"] == detail)
    text = detail if len(detail) <= LONGEST else f"{detail[:LONGEST]} ..."
    return RejectReason(reason, count, text, f"{first['file']}, record {first['episode']}")
