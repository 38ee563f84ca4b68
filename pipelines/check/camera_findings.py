"""Finds cameras that are missing, unreadable, black, frozen, equal to another one, or have red and blue exchanged."""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes.dataset_entry import DatasetEntry
from pipelines.check.dataset_findings import DatasetFinding, Pictures, Severity, few
from pipelines.check.sampled import CameraLook, EpisodeSample, SampledEpisode

BLACK = 4.0  # of 255: pictures are black if their mean and their standard deviation are smaller
SAME = 1.0  # of 255: two cameras show the same if their thumbnails differ by less on average
MOVES = 0.02  # of a dim's range over all episodes: the robot moved if a dim covers more in an episode
COLOURFUL = 8.0  # of 255: how much red and blue must differ for an exchange to show
CLEARLY = 0.5  # exchanging back must reduce the distance to the other pictures to less than this share
TINGE = 4.0  # of 255: if red and blue differ by less in the usual picture, an exchange does not show
FITS, FITS_NOT = 0.6, 1.1  # distance after an exchange / distance before: exchanged if below, in order if above
FEWEST = 3
Look = tuple[SampledEpisode, CameraLook]


@dataclass
class _Camera:
    name: str
    looks: list[Look] = field(default_factory=list)
    black: list[Look] = field(default_factory=list)
    problems: list[Look] = field(default_factory=list)

    @property
    def fine(self) -> list[Look]:
        bad = {id(look) for _, look in (*self.black, *self.problems)}
        return [(episode, look) for episode, look in self.looks if id(look) not in bad]


def check_cameras(sample: EpisodeSample, entry: DatasetEntry | None, known: bool) -> list[DatasetFinding]:
    """Checks the cameras of the episodes that were read.

    Args:
        sample: the episodes that were read.
        entry: entry of the dataset, which names its cameras; None if it has no entry.
        known: whether episodes come with all cameras of the dataset, so that one that is not there is missing.
    """
    cameras: dict[str, _Camera] = {}
    for episode in sample.usual():
        for name, look in episode.cameras.items():
            camera = cameras.setdefault(name, _Camera(name))
            camera.looks.append((episode, look))
            if look.problem:
                camera.problems.append((episode, look))
            elif _black(look):
                camera.black.append((episode, look))
    findings = []
    for camera in cameras.values():
        findings += _problems(camera, entry is not None) + _blacks(camera) + _frozen(sample, camera) + _swapped(camera)
    if entry is not None and known:
        findings += _of_entry(sample, entry, sorted(cameras))
    findings += _twins(list(cameras.values()))
    findings += _opposed(list(cameras.values()))
    return findings


def _of_entry(sample: EpisodeSample, entry: DatasetEntry, there: list[str]) -> list[DatasetFinding]:
    """Reports cameras that no episode has, or that the entry uses for two slots."""
    findings = []
    features = list(entry.cameras.values())
    double = next((feature for feature in features if features.count(feature) > 1), None)
    if double is not None and sample.episodes:
        slots = [slot for slot, feature in entry.cameras.items() if feature == double]
        what = f"the entry takes one camera for {few(slots)}: {double}"
        todo = "correct the entry: each slot has a camera of its own"
        findings.append(DatasetFinding("warning", "camera-twice", sample.episodes[0].at(dim=double), what, todo))
    lacking = [f"{slot}: {feature}" for slot, feature in entry.cameras.items() if feature not in there]
    if not lacking or not sample.episodes:
        return findings
    what = f"the entry's camera {few(lacking)} is in no episode" + (f"; there are {few(there)}" if there else "")
    todo = "correct the entry: `index` rejects every episode without this camera"
    findings.append(DatasetFinding("error", "camera-missing", sample.episodes[0].at(dim=lacking[0]), what, todo))
    return findings


def _problems(camera: _Camera, used: bool) -> list[DatasetFinding]:
    findings = []
    absent = [(e, look) for e, look in camera.problems if look.absent]
    damaged = [(e, look) for e, look in camera.problems if not look.absent]
    of = len(camera.looks)
    if absent:
        episode, look = absent[0]
        what = f"camera {camera.name}: {len(absent)} of {of} episodes that were looked at have no file: {look.problem}"
        todo = "download the missing files; episodes without them are rejected if the entry uses this camera"
        level: Severity = "error" if used else "note"
        place = episode.at(dim=camera.name)
        findings.append(DatasetFinding(level, "camera-missing", place, what, todo, count=len(absent)))
    if damaged:
        episode, look = damaged[0]
        what = f"camera {camera.name}: frames of {len(damaged)} of {of} episodes cannot be read: {look.problem}"
        todo = "copy the file again from its source, or encode it again from the recording"
        place = episode.at(dim=camera.name)
        findings.append(DatasetFinding("error", "camera-unreadable", place, what, todo, count=len(damaged)))
    return findings


def _blacks(camera: _Camera) -> list[DatasetFinding]:
    if not camera.black:
        return []
    episode, look = camera.black[0]
    what = f"camera {camera.name} is black in {len(camera.black)} of {len(camera.looks)} episodes that were looked at"
    todo = "leave the camera out of the entry, or these episodes out of the data"
    return [DatasetFinding("warning", "camera-black", episode.at(dim=camera.name), what, todo, count=len(camera.black),
                           drawings=_shown({"black": look}))]  # fmt: skip


def _frozen(sample: EpisodeSample, camera: _Camera) -> list[DatasetFinding]:
    """Finds episodes in which a camera shows the same picture all the time although the robot moves."""
    frozen = []
    scale = _scale(sample)
    for episode, look in camera.fine:
        if len(look.thumbnails) >= FEWEST and _moved(episode, scale):
            exact = max(float(np.abs(frame - look.thumbnails[0]).max()) for frame in look.thumbnails[1:])
            if exact <= 0.5:
                frozen.append((episode, look))
    if not frozen:
        return []
    episode, look = frozen[0]
    what = (
        f"camera {camera.name} shows one picture all along in {len(frozen)} of {len(camera.fine)} episodes, while the robot "
        "moves"
    )
    todo = "leave these episodes out, or copy the camera's recordings again"
    return [DatasetFinding("warning", "camera-frozen", episode.at(dim=camera.name), what, todo, count=len(frozen),
                           drawings=_shown({"frozen": look}))]  # fmt: skip


def _swapped(camera: _Camera) -> list[DatasetFinding]:
    """Finds episodes whose pictures look like those of the others only after red and blue are exchanged."""
    looks = [(e, look, look.thumbnails.mean(axis=0)) for e, look in camera.fine if len(look.thumbnails)]
    if len(looks) < FEWEST + 1:
        return []
    pictures = np.stack([picture for _, _, picture in looks])
    turned = pictures[..., ::-1]
    flags = np.zeros(len(looks), bool)
    for _ in range(4):
        upright = np.where(flags[:, None, None, None], turned, pictures)
        usual = np.median(upright, axis=0)
        as_is = np.abs(pictures - usual).mean(axis=(1, 2, 3))
        exchanged = np.abs(turned - usual).mean(axis=(1, 2, 3))
        chroma = np.abs(pictures[..., 0] - pictures[..., 2]).mean(axis=(1, 2))
        flags = (exchanged < CLEARLY * as_is) & (chroma > COLOURFUL) | _other_light(
            [look for _, look, _ in looks], flags
        )
    if flags.sum() > len(flags) / 2:
        flags = ~flags
    if not flags.any():
        return []
    worst = int(np.argmax(np.where(flags, as_is - exchanged, -np.inf)))
    other = int(np.flatnonzero(~flags)[0])
    files = sorted({looks[i][0].where.file for i in np.flatnonzero(flags)})
    what = (
        f"camera {camera.name}: {int(flags.sum())} of {len(looks)} episodes that were looked at have red and blue exchanged, "
        f"compared with the others: {few([looks[i][0].where.number for i in np.flatnonzero(flags)])} in {few(files, 2)}"
    )
    todo = (
        "write these files again with their channels in order; if a whole dataset is like this, `bgr: [SLOT]` says so"
    )
    episode = looks[worst][0]
    return [DatasetFinding("warning", "camera-colours", episode.at(dim=camera.name), what, todo, count=int(flags.sum()),
                           drawings=_shown({"exchanged?": looks[worst][1], "another episode": looks[other][1]}))]  # fmt: skip


def _other_light(looks: list[CameraLook], flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns (n,) bool: episodes whose colours, sorted from dark to bright, fit the others only after an exchange.

    It works if scenes differ between episodes. If any episode is between the two kinds, no episode is flagged.
    """
    palettes = np.stack([_palette(look.thumbnails) for look in looks])
    upright = np.where(flags[:, None, None], palettes[..., ::-1], palettes)
    usual = np.median(upright, axis=0)
    as_is = np.abs(palettes - usual).mean(axis=(1, 2)) + 0.1
    ratio = np.abs(palettes[..., ::-1] - usual).mean(axis=(1, 2)) / as_is
    odd = ratio < FITS
    between = (ratio >= FITS) & (ratio < FITS_NOT)
    if between.any() or np.abs(usual[:, 0] - usual[:, 2]).mean() < TINGE:
        return np.zeros(len(looks), bool)
    return np.asarray(odd)


def _opposed(cameras: list[_Camera]) -> list[DatasetFinding]:
    """Finds two cameras of one scene whose colours agree only if red and blue of one are exchanged, in every episode."""
    findings = []
    for one, other in combinations(cameras, 2):
        pairs = _pairs(one, other)
        if len(pairs) < FEWEST:
            continue
        a = np.array([_chroma(x) for _, x, _ in pairs])
        b = np.array([_chroma(y) for _, _, y in pairs])
        sure = (np.abs(a) > COLOURFUL) & (np.abs(b) > COLOURFUL) & (np.sign(a) != np.sign(b))
        alike = np.abs(np.abs(a) - np.abs(b)) < 0.5 * np.maximum(np.abs(a), np.abs(b))
        near = np.array([_colour_distance(x, y, True) < CLEARLY * _colour_distance(x, y, False) for _, x, y in pairs])
        if not (sure & alike & near).all():
            continue
        episode, x, y = pairs[0]
        what = f"cameras {one.name} and {other.name} disagree on red and blue in every episode: one has them exchanged"
        todo = "look at both pictures, and write the slot of the wrong one into the entry's bgr"
        findings.append(DatasetFinding("warning", "camera-colours", episode.at(dim=other.name), what, todo, "bgr: [SLOT]",
                                       len(pairs), _shown({one.name: x, other.name: y})))  # fmt: skip
    return findings


def _twins(cameras: list[_Camera]) -> list[DatasetFinding]:
    """Finds pairs of cameras that show the same pictures."""
    findings = []
    for one, other in combinations(cameras, 2):
        pairs = _pairs(one, other)
        same = [
            (episode, x)
            for episode, x, y in pairs
            if x.thumbnails.shape == y.thumbnails.shape and np.abs(x.thumbnails - y.thumbnails).mean() < SAME
        ]
        if not same or 2 * len(same) < len(pairs):
            continue
        episode, x = same[0]
        what = f"cameras {one.name} and {other.name} show the same pictures in {len(same)} of {len(pairs)} episodes"
        todo = "leave one of the two out of the entry: it costs tokens and says nothing"
        findings.append(DatasetFinding("warning", "camera-twice", episode.at(dim=other.name), what, todo, count=len(same),
                                       drawings=_shown({f"{one.name} = {other.name}": x})))  # fmt: skip
    return findings


def _pairs(one: _Camera, other: _Camera) -> list[tuple[SampledEpisode, CameraLook, CameraLook]]:
    """Returns (episode, frames of one camera, frames of the other) for each episode in which both are sound."""
    theirs = {id(episode): look for episode, look in other.fine}
    return [(episode, look, theirs[id(episode)]) for episode, look in one.fine if id(episode) in theirs]


def _black(look: CameraLook) -> bool:
    return len(look.thumbnails) > 0 and float(look.thumbnails.mean()) < BLACK and float(look.thumbnails.std()) < BLACK


def _chroma(look: CameraLook) -> float:
    mean = look.thumbnails.mean(axis=(0, 1, 2))
    return float(mean[0] - mean[2])


def _colour_distance(one: CameraLook, other: CameraLook, exchanged: bool) -> float:
    """Returns the distance between the colours of two cameras, sorted by brightness: their arrangement does not count."""
    a, b = (_palette(look.thumbnails) for look in (one, other))
    return float(np.abs(a - (b[:, ::-1] if exchanged else b)).mean())


def _palette(thumbnails: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns (16, 3) mean colours from the darkest to the brightest pixels, without their brightness."""
    pixels = thumbnails.reshape(-1, 3).astype(np.float64)
    ordered = pixels[np.argsort(pixels.sum(axis=1))]
    groups = np.stack([group.mean(axis=0) for group in np.array_split(ordered, 16)])
    return np.asarray(groups - groups.mean(axis=1, keepdims=True))


def _scale(sample: EpisodeSample) -> NDArray[np.float64]:
    tables = [e.state if e.state.shape[1] else e.action for e in sample.usual()]
    joined = np.concatenate(tables) if tables else np.zeros((1, 1))
    return np.asarray(np.nanmax(joined, axis=0) - np.nanmin(joined, axis=0) + 1e-12)


def _moved(episode: SampledEpisode, scale: NDArray[np.float64]) -> bool:
    table = episode.state if episode.state.shape[1] else episode.action
    return bool((np.ptp(np.nan_to_num(table), axis=0) > MOVES * scale).any())


def _shown(looks: dict[str, CameraLook]) -> tuple[Pictures, ...]:
    images: dict[str, NDArray[np.uint8]] = defaultdict()
    for name, look in looks.items():
        for i, picture in enumerate(look.pictures):
            images[f"{name}, {'first' if i == 0 else 'last'} frame"] = picture
    return (Pictures(dict(images)),)
