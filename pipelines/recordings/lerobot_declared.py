"""Compares what a LeRobot folder declares with what was found, as far as that is possible without reading steps."""

import itertools
from collections.abc import Iterator, Mapping

from fasttok.episodes.lerobot import few
from fasttok.episodes.lerobot_folder import LerobotEpisode, LerobotFolder
from fasttok.episodes.lerobot_info import INFO, split_range, split_ranges
from pipelines.recordings.split_notes import split_notes

SHOWN = 5


def not_as_declared(folder: LerobotFolder, found: Mapping[int, LerobotEpisode]) -> Iterator[str]:
    """Yields messages about counts that differ, missing or unneeded videos, and episodes in no split or in several.

    Args:
        folder: the folder, whose files are listed.
        found: number -> episode with the true paths of its files.
    """
    info, listing = folder.info, folder.listing
    if info.total_episodes is not None and info.total_episodes != len(found):
        yield f"{INFO} says total_episodes {info.total_episodes}, meta/ lists {len(found)}"
    lengths = [episode.length for episode in found.values()]
    steps = sum(length for length in lengths if length is not None)
    if info.total_frames is not None and None not in lengths and steps != info.total_frames:
        yield f"{INFO} says total_frames {info.total_frames}, the lengths in meta/ sum up to {steps}"
    needed = {place.file for episode in found.values() for place in episode.videos.values()}
    movies = sorted(path for paths in listing.movies.values() for path in paths)
    if info.total_videos is not None and info.total_videos != len(movies):
        yield f"{INFO} says total_videos {info.total_videos}, there are {len(movies)} video files"
    absent = sorted(needed - set(movies))
    if absent:
        yield f"{len(absent)} of {len(needed)} videos that episodes need are not there: {few(absent, SHOWN)}"
    unneeded = [path for path in movies if path not in needed]
    if unneeded:
        yield f"{len(unneeded)} video files belong to no episode and camera that is listed: {few(unneeded, SHOWN)}"
    yield from _splits(folder)


def assumed_places(folder: LerobotFolder, found: Mapping[int, LerobotEpisode]) -> list[str]:
    """Returns what was assumed about a folder, with a line about files that are not where the folder says.

    Args:
        folder: the folder of the episodes.
        found: number -> episode with the true paths of its files.
    """
    moved = [episode for number, episode in found.items() if _files(episode) != _files(folder.episodes[number])]
    if not moved:
        return list(folder.assumed)
    first = moved[0]
    places = zip(_files(folder.episodes[first.number]), _files(first), strict=True)
    said, true = next((said, true) for said, true in places if said != true)
    line = f"files: of {len(moved)} episodes some lie elsewhere than {INFO} says, such as {true} instead of {said}"
    return [*folder.assumed, line]


def _splits(folder: LerobotFolder) -> Iterator[str]:
    ranges = {split: split_range(folder.info, split) for split in split_ranges(folder.info)}
    of = {number: [s for s, (first, last) in ranges.items() if first <= number < last] for number in folder.episodes}
    yield from split_notes(of, "episodes", INFO, SHOWN)


def overlaps(folder: LerobotFolder) -> dict[tuple[int, str], str]:
    """Returns (episode, camera) -> why its part of a video cannot be right: the frames of another episode are there, too."""
    info = folder.info
    by_file: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for episode in folder.episodes.values() if info.packed else ():
        for camera, place in episode.videos.items():
            long = episode.length / info.fps if episode.length and info.fps else 0.0
            stop = place.start + long if place.stop is None or long else place.stop
            by_file.setdefault((place.file, camera), []).append((place.start, stop, episode.number))
    found = {}
    slack = 1.0 / info.fps if info.fps else 0.0
    for (file, camera), places in by_file.items():
        places.sort()
        for (start, stop, one), (begins, _, other) in itertools.pairwise(places):
            if begins < stop - slack - 1e-6 or begins == start:
                for number in (one, other):
                    found[number, camera] = (
                        f"meta/ has episode {one} in {file} from {start:.2f} s to {stop:.2f} s, and episode {other} from "
                        f"{begins:.2f} s; correct from_timestamp"
                    )
    return found


def _files(episode: LerobotEpisode) -> list[str]:
    return [episode.table, *(place.file for place in episode.videos.values())]
