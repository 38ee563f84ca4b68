"""Checks time stamps for gaps, jitter, a frequency that contradicts the declared one, and units other than seconds."""

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes.dataset_entry import DatasetEntry
from pipelines.check.dataset_findings import Curves, DatasetFinding, FoundAt, few
from pipelines.check.sampled import EpisodeSample, SampledEpisode

GAP = 1.5  # a step that takes longer than this many usual steps is a gap
JITTER = 0.25  # share of the usual step by which a step may be off
OFTEN = 0.05  # share of steps that may be off by more than that
FREQUENCY = 0.05  # share by which the measured frequency may differ from the declared one
UNITS = ((1.0, "seconds"), (1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds"))


def check_timing(sample: EpisodeSample, entry: DatasetEntry | None) -> list[DatasetFinding]:
    """Checks the declared frequencies, and the time stamps of episodes that have them.

    Args:
        sample: the episodes that were read.
        entry: entry of the dataset, which may declare a frequency; None if it has no entry.
    """
    timed = [(episode, _seconds(episode, sample.hz)) for episode in sample.usual() if _has_times(episode)]
    findings = _recorded(sample, entry)
    usual = [float(np.median(np.diff(times))) for _, (times, _) in timed]
    units = {unit for _, (_, unit) in timed}
    if timed and units != {"seconds"}:
        episode, (seconds, _) = timed[0]
        what = f"time stamps are in {few(sorted(units))}: {np.median(np.diff(seconds)):.4g} s per step here, if so"
        findings.append(DatasetFinding("warning", "timestamps", episode.at(), what, "write time stamps in seconds"))
    findings += _faults(timed)
    step = float(np.median(usual)) if usual else 0.0
    if step > 0 and sample.hz and abs(1 / step - sample.hz) > FREQUENCY * sample.hz:
        worst = timed[0][0]
        what = f"time stamps are {step:.4g} s apart, which is {1 / step:.4g} Hz; declared are {sample.hz:g} Hz"
        todo = "correct the declared frequency: chunks of a second would have the wrong number of steps"
        findings.append(
            DatasetFinding("error", "timestamps", worst.at(), what, todo, f"control_hz: {round(1 / step, 2):g}")
        )
    elif step > 0 and not sample.hz:
        what = f"nothing declares a control frequency; time stamps are {step:.4g} s apart, which is {1 / step:.4g} Hz"
        todo = "write the frequency into the entry"
        findings.append(
            DatasetFinding("note", "timestamps", timed[0][0].at(), what, todo, f"control_hz: {round(1 / step, 2):g}")
        )
    return findings


def _recorded(sample: EpisodeSample, entry: DatasetEntry | None) -> list[DatasetFinding]:
    """Reports a frequency that the files record and the entry contradicts."""
    said = None if entry is None or entry.control_hz is None else float(entry.control_hz)
    if not said or not sample.recorded_hz or abs(said - sample.recorded_hz) <= FREQUENCY * said:
        return []
    what = f"the entry says control_hz: {said:g}, the files record {sample.recorded_hz:g} Hz"
    todo = "correct the entry: chunks of a second would have the wrong number of steps"
    place = sample.episodes[0].at() if sample.episodes else FoundAt()
    return [DatasetFinding("error", "timestamps", place, what, todo, f"control_hz: {sample.recorded_hz:g}")]


def _faults(timed: list[tuple[SampledEpisode, tuple[NDArray[np.float64], str]]]) -> list[DatasetFinding]:
    """Finds gaps, steps back in time, and jitter."""
    gaps, jittery = [], []
    for episode, (times, _) in timed:
        steps = np.diff(times)
        usual = float(np.median(steps))
        odd = np.flatnonzero((steps > GAP * usual) | (steps <= 0)) if usual > 0 else np.flatnonzero(steps <= 0)
        if len(odd):
            gaps.append((episode, times, int(odd[0]) + 1))
        elif len(steps) >= 5 and (np.abs(steps - usual) > JITTER * usual).mean() > OFTEN:
            jittery.append((episode, times, int(np.abs(steps - usual).argmax()) + 1))
    findings = []
    for severity, found, what, todo in (
        ("error", gaps, "has a gap", "cut the episode there, or record it again: neighbouring rows must be neighbouring steps"),
        ("warning", jittery, "jitters", "resample the episode to even steps, or record with a fixed rate"),
    ):  # fmt: skip
        if not found:
            continue
        episode, times, at = found[0]
        steps = np.diff(times)
        words = (
            f"the time {what} in {len(found)} of {len(timed)} episodes: from {times[at - 1]:.6g} s to {times[at]:.6g} s here, "
            f"usually {np.median(steps):.4g} s"
        )
        drawing = Curves("seconds between steps", {"seconds": steps}, (at - 1, at), "time between steps (s)")
        findings.append(
            DatasetFinding("error" if severity == "error" else "warning", "timestamps", episode.at_stored(at), words, todo,
                           count=len(found), drawings=(drawing,))
        )  # fmt: skip
    return findings


def _has_times(episode: SampledEpisode) -> bool:
    return episode.times is not None and len(episode.times) > 2 and bool(np.isfinite(episode.times).all())


def _seconds(episode: SampledEpisode, hz: float | None) -> tuple[NDArray[np.float64], str]:
    """Returns the time stamps in seconds, and the unit in which they seem to be stored."""
    assert episode.times is not None
    step = float(np.median(np.diff(episode.times)))
    for factor, name in UNITS:
        seconds = step / factor
        near = abs(seconds * hz - 1) < 0.5 if hz else 1e-3 < seconds < 2.0
        if near:
            return episode.times / factor, name
    return episode.times, "seconds"
