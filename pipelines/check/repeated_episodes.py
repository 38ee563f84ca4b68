"""Finds episodes that are there twice, and held-out episodes that training would see."""

from collections import defaultdict

import numpy as np

from pipelines.check.dataset_findings import Curves, DatasetFinding, FoundAt
from pipelines.check.sampled import EpisodeSample
from pipelines.look.lint_copies import is_held_out


def check_repeats(sample: EpisodeSample) -> list[DatasetFinding]:
    """Compares the rounded actions of all episodes that were read."""
    groups: dict[bytes, list[FoundAt]] = defaultdict(list)
    for of in sample.digests:
        if of.digest:
            groups[of.digest].append(of.place)
    findings = []
    twice = [same for group in groups.values() for same in _by_split(group).values() if len(same) > 1]
    if twice:
        first, again = twice[0][:2]
        many = sum(len(same) - 1 for same in twice)
        what = f"{many} episode(s) are there twice: this one has the actions of {again}"
        todo = "remove the copies: they count twice, and one may be held out while the other is trained on"
        drawn = _drawn(sample, first)
        findings.append(DatasetFinding("warning", "duplicate-episode", first, what, todo, count=many, drawings=drawn))
    return findings + _leaks(sample, groups)


def _leaks(sample: EpisodeSample, groups: dict[bytes, list[FoundAt]]) -> list[DatasetFinding]:
    leaked = []
    for group in groups.values():
        seen = [place for place in group if not is_held_out(place.split)]
        leaked += [(place, seen[0]) for place in group if is_held_out(place.split) and seen]
    if not leaked:
        return []
    held = sum(is_held_out(of.place.split) for of in sample.digests)
    place, other = leaked[0]
    if len(leaked) == held == len(sample.digests) - held:
        what = (
            f"{place.split} is {other.split} again, all {held} episodes of it: nothing is held out, and a score on it says "
            "nothing about new episodes"
        )
        todo = "hold out episodes of your own, if you want to measure on them"
        return [DatasetFinding("note", "held-out-leak", place, what, todo, count=len(leaked))]
    what = f"{len(leaked)} of {held} held-out episodes are also trained on: this one is {other} of {other.split}"
    todo = "remove them from one of the two splits: a score on them says nothing about new episodes"
    drawn = _drawn(sample, place)
    return [DatasetFinding("error", "held-out-leak", place, what, todo, count=len(leaked), drawings=drawn)]


def _by_split(group: list[FoundAt]) -> dict[str, list[FoundAt]]:
    found: dict[str, list[FoundAt]] = defaultdict(list)
    for place in group:
        found[place.split].append(place)
    return found


def _drawn(sample: EpisodeSample, place: FoundAt) -> tuple[Curves, ...]:
    """Draws the action dim that moves most in the episode of `place`, if the episode was kept."""
    episode = next((e for e in sample.usual() if e.at() == place), None)
    if episode is None:
        return ()
    d = int(np.argmax(np.nanstd(episode.action, axis=0)))
    return (Curves(str(sample.columns.action[d]), {"action": episode.action[:, d]}),)
