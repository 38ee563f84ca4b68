"""Findings as the page's tables."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.loading.contenders import OURS, Contender
from benchmarks.loading.readers.stage import Source

Found = dict[str, Any]
Rows = list[dict[str, Any]]
DATASETS = {
    "planar": "The tabletop world's planar robot: {}, images 224 px, read by lerobot from videos of 224 px",
    "bottle": "g1_bottle, 14 recorded episodes: {}, images 224 px, read by lerobot from the recorded videos of 640 x 480",
}
SEQUENTIAL, SHUFFLED = "in file order, samples/s", "shuffled, samples/s"
PER_CPU, FIRST, PEAK = "shuffled, samples per CPU second", "s to the first batch", "peak MB"
RESUME, FARTHEST = "s to the next batch", "of 1,000"
NONE = "-"
CLAIMED: dict[str, Any] = {  # columns, and whether more or less is better
    SEQUENTIAL: max, SHUFFLED: max, PER_CPU: max, FIRST: min, PEAK: min, RESUME: min, FARTHEST: min
}  # fmt: skip


def title(name: str, source: Source) -> str:
    """Of a dataset's table."""
    steps, horizon, dims = source.chunk.shape
    return DATASETS[name].format(f"{steps:,} steps, chunks of {horizon} x {dims}")


def median(found: Sequence[Found], what: str) -> float:
    """Of one number over rounds."""
    return float(statistics.median(one[what] for one in found))


def rates(contenders: Sequence[Contender], found: Mapping[str, Mapping[str, Sequence[Found]]]) -> Rows:
    """A row a reader."""
    rows = []
    for one in contenders:
        orders = found.get(one.name, {})
        if "shuffled" not in orders:
            continue
        shuffled, in_order = orders["shuffled"], orders.get("sequential")
        row: dict[str, Any] = {"reader": one.name, "images": one.images}
        row[SEQUENTIAL] = round(median(in_order, "rate")) if in_order else NONE
        row[SHUFFLED] = round(median(shuffled, "rate"))
        speeds = [round(each["rate"]) for each in shuffled]
        row["lowest..highest"] = f"{min(speeds):,}..{max(speeds):,}"
        row[PER_CPU] = round(median(shuffled, "cpu_rate"))
        if OURS in found:
            pairs = zip(found[OURS]["shuffled"], shuffled, strict=False)
            ratio = statistics.median(ours["rate"] / theirs["rate"] for ours, theirs in pairs)
            row[f"{OURS} is"] = f"{ratio:.1f}x"
        row[FIRST] = round(median(shuffled, "first"), 2)
        row["of it after imports"] = round(median(shuffled, "first_after_imports"), 2)
        row[PEAK] = round(max(each["peak"] for each in shuffled))
        row["of it not of files"] = round(max(each["peak_private"] for each in shuffled))
        bad = sum(each["wrong"] + each["twice"] for each in (*shuffled, *(in_order or [])))
        row["samples wrong or twice"] = bad
        rows.append(row)
    return rows


def resumes(found: Mapping[str, Found]) -> Rows:
    """A row a reader."""
    return [
        {
            "reader": name,
            "by": "its state" if one["by_state"] else "reading 90 % again",
            RESUME: round(one["seconds"], 2),
            "what follows": followed(one),
        }
        for name, one in found.items()
    ]


def followed(one: Found) -> str:
    """How what followed compares with an epoch that nothing interrupted."""
    if one["exact"]:
        return "exact: the same samples in the same order"
    if one["same_samples"]:
        return "the same samples in another order"
    return f"not exact: {one['in_common']:.0%} of the samples that were left"


def mixtures(found: Mapping[str, Found]) -> Rows:
    """A row a reader."""
    return [
        {
            "reader": name,
            "share of the first": f"{one['share']:.3f}",
            FARTHEST: one["apart"]["1000"],
            "of 64": one["apart"]["64"],
            "holds in every window": "yes, within a sample" if one["apart"]["1000"] <= 1 else "no",
        }
        for name, one in found.items()
    ]


def first(sections: Mapping[str, Rows]) -> Rows:
    """For each column that can be claimed: who is first, and what the better of our two orders has."""
    found = []
    for heading, rows in sections.items():
        for column, better in CLAIMED.items():
            having = [row for row in rows if isinstance(row.get(column), int | float)]
            if column == RESUME:
                having = [row for row in having if row["what follows"].startswith("exact")]
            ours = [row for row in having if row["reader"].startswith("fasttok")]
            if having and ours:
                best = better(row[column] for row in having)
                names = [row["reader"] for row in having if row[column] == best]
                own = better(ours, key=lambda row: row[column])
                others = [name for name in names if not name.startswith("fasttok")]
                verdict = "no" if own[column] != best else "yes, with others" if others else "yes"
                found.append(
                    {
                        "table": heading.rsplit(": ", 1)[0].split(",")[0],
                        "column": column,
                        "first": f"{', '.join(names)} ({best:,})",
                        "fasttok": f"{own[column]:,} ({own['reader'].removeprefix('fasttok ')})",
                        "fasttok is first": verdict,
                    }
                )
    return found


def settings(contenders: Sequence[Contender]) -> Rows:
    """Versions, and what was chosen for each."""
    return [
        {
            "reader": one.name,
            "package": f"{one.package} {one.version}",
            "shuffles": one.shuffle,
            "settings": f"{one.settings}; two threads or workers",
        }
        for one in contenders
    ]
