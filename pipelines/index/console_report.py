"""Prints the result of `index`: a row per dataset and split, and why records were left out."""

from collections import Counter
from collections.abc import Mapping, Sequence

from fasttok.common import json_files
from fasttok.common.console import emit_json, log, table
from fasttok.common.kinds import RecordKind
from fasttok.episodes.index_file import IndexFile, SplitCounts
from pipelines.common.reject_share import joined, rejects_said
from pipelines.index.reject_reasons import RejectReason, tables_of


def report(index: IndexFile, files: Mapping[tuple[str, str], int], as_json: bool) -> None:
    """Prints the summary.

    Args:
        index: index.json of the INDEX.
        files: (dataset, split) -> number of source files, or of ranges of them.
        as_json: whether to print one JSON document instead of a table.
    """
    if as_json:
        emit_json(json_files.encode(index))
        return
    rows = []
    for name, dataset in index.datasets.items():
        entry = dataset.entry
        for split, counts in dataset.splits.items():
            rows.append([name, split, entry.kind, files[name, split],
                         counts.bytes / 1e6 if counts.bytes else None, counts.read, counts.indexed,
                         sum(counts.filtered.values()), sum(counts.rejected.values()), _reasons(entry.kind, counts),
                         counts.steps, entry.control_hz, entry.action_dim if entry.kind == "robot" else None])  # fmt: skip
    columns = ["dataset", "split", "kind", "files", "MB", "read", "indexed", "filtered", "rejected", "reasons", "steps", "Hz",
               "action dim"]  # fmt: skip
    table("read = indexed + filtered + rejected", columns, rows)


def report_rejected(reasons: Mapping[str, Sequence[RejectReason]], out: str) -> None:
    """Prints why records of each dataset were rejected, with an example of each reason, and which files list all of them."""
    for name, found in reasons.items():
        if found:
            log(f"{name}: rejected records, the most frequent reasons (every one is in {tables_of(out, name)}):")
            for reason in found:
                log(f"  {reason}")


def last_line(index: IndexFile, out: str, following: str) -> str:
    """Returns the last line of `index`: where the INDEX is, why records were rejected, and the next command.

    It names only datasets of which more than 1 % of the records was rejected.

    Args:
        index: index.json of the INDEX.
        out: path or URL of the INDEX, as the user wrote it.
        following: the next command.
    """
    said = []
    for name, dataset in index.datasets.items():
        found = sum((Counter(counts.rejected) for counts in dataset.splits.values()), Counter[str]())
        said.append(rejects_said(name, found, sum(counts.read for counts in dataset.splits.values()), "records"))
    return joined([f"INDEX {out} (digest {index.digest})", *said, f"next: {following}"])


def _reasons(kind: RecordKind, counts: SplitCounts) -> str:
    """Returns in words why records, and steps or pieces of records, were left out."""
    steps = " steps" if kind == "robot" else ""
    words = [f"{n} {reason}" for reason, n in (Counter(counts.filtered) + Counter(counts.rejected)).items()]
    words += [f"{n} {reason}{steps}" for reason, n in counts.left_out.items()]
    return ", ".join(words) or "-"
