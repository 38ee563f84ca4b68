"""Episodes that are there twice, and held-out episodes that training would see."""

import hashlib
from collections import defaultdict

import numpy as np

from pipelines.check.dataset_findings import Curves, DatasetFinding
from pipelines.check.sampled import EpisodeSample, SampledEpisode
from pipelines.look.lint_copies import is_held_out

DIGITS = 5  # of the actions that count


def check_repeats(sample: EpisodeSample) -> list[DatasetFinding]:
    """Compares the actions of all sampled episodes, rounded."""
    groups: dict[bytes, list[SampledEpisode]] = defaultdict(list)
    for episode in sample.usual():
        if len(episode.action) > 1 and np.ptp(np.nan_to_num(episode.action), axis=0).any():
            groups[_digest(episode)].append(episode)
    findings = []
    twice = [same for group in groups.values() for same in _by_split(group).values() if len(same) > 1]
    if twice:
        first, again = twice[0][:2]
        many = sum(len(same) - 1 for same in twice)
        what = f"{many} episode(s) are there twice: this one has the actions of {again.at()}"
        todo = "remove the copies: they count twice, and one may be held out while the other is trained on"
        findings.append(
            DatasetFinding(
                "warning", "duplicate-episode", first.at(), what, todo, count=many, drawings=_drawn(sample, first)
            )
        )
    return findings + _leaks(sample, groups)


def _leaks(sample: EpisodeSample, groups: dict[bytes, list[SampledEpisode]]) -> list[DatasetFinding]:
    leaked = []
    for group in groups.values():
        held = [e for e in group if is_held_out(e.split)]
        seen = [e for e in group if not is_held_out(e.split)]
        leaked += [(e, seen[0]) for e in held if seen]
    if not leaked:
        return []
    held_out = {e.split for e in sample.usual() if is_held_out(e.split)}
    total = sum(e.split in held_out for e in sample.usual())
    episode, other = leaked[0]
    trained = sum(not is_held_out(e.split) for e in sample.usual())
    if len(leaked) == total == trained:
        what = (
            f"{episode.split} is {other.split} again, all {total} episodes of it: nothing is held out, and a score on it "
            "says nothing about new episodes"
        )
        todo = "hold out episodes of your own, if you want to measure on them"
        return [DatasetFinding("note", "held-out-leak", episode.at(), what, todo, count=len(leaked))]
    what = f"{len(leaked)} of {total} held-out episodes are also trained on: this one is {other.at()} of {other.split}"
    todo = "remove them from one of the two splits: a score on them says nothing about new episodes"
    return [
        DatasetFinding(
            "error", "held-out-leak", episode.at(), what, todo, count=len(leaked), drawings=_drawn(sample, episode)
        )
    ]


def _by_split(group: list[SampledEpisode]) -> dict[str, list[SampledEpisode]]:
    found: dict[str, list[SampledEpisode]] = defaultdict(list)
    for episode in group:
        found[episode.split].append(episode)
    return found


def _digest(episode: SampledEpisode) -> bytes:
    """Of the actions to so many digits, and of the state where it begins and ends."""
    with np.errstate(invalid="ignore"):
        rounded = np.round(np.nan_to_num(episode.action), DIGITS) + 0.0
    digest = hashlib.blake2b(rounded.tobytes(), digest_size=16)
    digest.update(str(rounded.shape).encode())
    return digest.digest()


def _drawn(sample: EpisodeSample, episode: SampledEpisode) -> tuple[Curves, ...]:
    d = int(np.argmax(np.nanstd(episode.action, axis=0)))
    return (Curves(str(sample.columns.action[d]), {"action": episode.action[:, d]}),)
