"""Finds instructions that are missing, say nothing, or are the same everywhere."""

import re
from collections import Counter

from fasttok.episodes.dataset_entry import DatasetEntry
from pipelines.check.dataset_findings import DatasetFinding, FoundAt, few
from pipelines.check.sampled import EpisodeSample

NOTHING = re.compile(r"(none|null|nan|n/?a|todo|tbd|test|task|default( task)?|unknown|dummy|-+|\.+|\?+)", re.IGNORECASE)


def check_languages(sample: EpisodeSample, entry: DatasetEntry | None) -> list[DatasetFinding]:
    """Checks the instruction of each episode.

    Args:
        sample: the episodes that were read.
        entry: entry of the dataset, which names the feature of the instruction; None if it has no entry.
    """
    if entry is not None and entry.language is None:
        return []
    told = [(episode, episode.language) for episode in sample.usual()]
    if not told:
        return []
    texts = [(episode, text) for episode, text in told if text is not None]
    if not texts and entry is not None:
        what = f"the entry's language {entry.language} is in no episode"
        todo = "correct the entry: `index` rejects every episode; write `language: null` if nothing is recorded"
        return [DatasetFinding("error", "language", told[0][0].at(dim=entry.language or ""), what, todo)]
    if not texts:
        what = "no instructions are recorded"
        todo = "name the feature that contains them in the entry; a model without instructions learns one task"
        return [DatasetFinding("note", "language", FoundAt(), what, todo, "language: FEATURE")]
    findings = []
    empty = [episode for episode, text in told if not text]
    if empty:
        what = f"{len(empty)} of {len(told)} episodes have no instruction"
        todo = "write them, or leave these episodes out (`filters: {language: true}` does, and `index` counts them)"
        findings.append(DatasetFinding("warning", "language", empty[0].at(), what, todo, count=len(empty)))
    blank = [(episode, text) for episode, text in texts if text and NOTHING.fullmatch(text)]
    if blank:
        what = f"{len(blank)} of {len(told)} episodes have an instruction that says nothing: {few(sorted({t for _, t in blank}))}"
        findings.append(
            DatasetFinding("warning", "language", blank[0][0].at(), what, "write what is done", count=len(blank))
        )
    changing = [episode for episode, _ in told if episode.language_changes]
    if changing:
        what = (
            f"{len(changing)} of {len(told)} episodes change their instruction on the way; all rows of an episode get that of "
            "its first step"
        )
        todo = "cut these episodes where the instruction changes, or leave them out"
        findings.append(DatasetFinding("warning", "language", changing[0].at(), what, todo, count=len(changing)))
    counts = Counter(text for _, text in texts if text)
    if len(counts) == 1 and len(texts) - len(empty) > 1:
        what = f"all {len(texts) - len(empty)} instructions are the same: {next(iter(counts))!r}"
        todo = "nothing, if it is one task; a model learns nothing from words that never change"
        findings.append(DatasetFinding("note", "language", FoundAt(), what, todo))
    return findings
