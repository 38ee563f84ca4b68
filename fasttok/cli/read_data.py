"""Reads the data that a command names: episodes with progress, or chunks as a tokenizer's embodiments need them."""

import os
from collections.abc import Iterator
from dataclasses import replace

from fasttok.actions.dataset import ChunkConfig, Dataset, embodiment_name
from fasttok.actions.left_out import LeftOut
from fasttok.common.console import log, track
from fasttok.common.urls import is_url
from fasttok.episodes import Episode, Episodes, open_episodes
from fasttok.errors import InputError
from fasttok.tokenizer import ActionTokenizer


def read(
    paths: tuple[str, ...], split: str, skip_bad: bool = False, left_out: LeftOut | None = None
) -> Iterator[Episode]:
    """Yields the episodes of all paths, and shows progress. It reports bad records, and never drops one silently.

    Args:
        paths: paths or URLs of the data.
        split: split of the data.
        skip_bad: whether files that cannot be read are left out; otherwise the first one is an error.
        left_out: gets what was left out; None to collect nothing.

    Raises:
        InputError: there is no path, a path cannot be read, or data is given twice.
    """
    if not paths:
        raise InputError(
            "no data: give an INDEX, an RLDS directory, a LeRobot folder, or npz, npy, parquet or HDF5 files"
        )
    once = OnceOnly(paths)
    for path, source in [(path, open_episodes(path, split, skip_bad)) for path in paths]:
        for episode in track(source, f"reading {source.name}", source.count, "episodes"):
            if episode.folder == source.folder:  # two INDEX folders may have other parts of one file
                once.check(episode.where.file, path)
            episode.metadata["source"] = path
            yield episode
        if left_out is not None:
            left_out.add(source.named, source.bad)
        _report_bad(source)


class OnceOnly:
    """Refuses paths that are given twice, and files that two of the given paths contain: their episodes would count twice."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        places = [_real(path) for path in paths]
        for number, path in enumerate(paths):
            first = paths[places.index(places[number])]
            if places.index(places[number]) < number:
                raise InputError(f"{first} and {path} are the same data, which would count twice; give one of them")
        self._owners: dict[str, str] = {}
        self._last = ("", "")  # the file and path that were checked last: a file has many episodes

    def check(self, file: str, path: str) -> None:
        """Notes that a file is read for a given path.

        Raises:
            InputError: the file was read for another given path.
        """
        if not file or self._last == (file, path):
            return
        self._last = file, path
        first = self._owners.setdefault(_real(file), path)
        if first != path:
            raise InputError(f"{file} is in {first} and in {path}, and would count twice; give one of them")


def _real(path: str) -> str:
    path = path.removeprefix("file://")
    return path.rstrip("/") if is_url(path) else os.path.realpath(path)


def _report_bad(source: Episodes) -> None:
    if source.bad:
        counts = ", ".join(f"{n} {reason}" for reason, n in source.bad.items())
        log(f"{source.name}: {sum(source.bad.values())} records left out ({counts}); the first: {source.first_bad}")


def dataset_for(
    tok: ActionTokenizer, paths: tuple[str, ...], split: str, config: ChunkConfig, every: bool = False
) -> Dataset:
    """Returns the actions of the data, grouped by the tokenizer's embodiments and cut into chunks as these need them.

    If `every` is true, all episodes count as held out.

    Raises:
        InputError: the data's dims or states are not those of the tokenizer, or no horizon is known.
    """
    if config.state_key and not any(what.relative for what in tok.embodiments.values()):
        raise InputError(
            f"--state-key {config.state_key}: no dims are relative here, so no state is needed; leave it out"
        )
    named = [name for name in tok.embodiments or tok.stats if name]
    only = named[0] if len(named) == 1 else None
    apart = False

    def episodes() -> Iterator[Episode]:
        nonlocal apart
        for episode in read(paths, split, config.skip_bad):
            name = embodiment_name(episode)
            if named and name not in named:
                own = embodiment_name(episode, apart=True)
                if only is None and own not in named:
                    tok.embodiment(name)
                apart = apart or own in named
                episode.metadata["embodiment"] = own if own in named else only
            yield episode

    if not tok.embodiments and config.horizon is None:
        raise InputError("this tokenizer does not say its horizon; pass --horizon")
    data = Dataset(episodes(), config, tok.embodiments, every=every)
    data.apart = apart
    for line in data.left_out.lines():
        log(line)
    for name, group in data.groups.items():
        stats = tok.state_stats.get(name)
        if group.embodiment.relative and group.proprio.lengths and stats is not None and group.proprio.dim != stats.dim:
            raise InputError(
                f"{name}: the state has {group.proprio.dim} columns, the tokenizer was fitted on {stats.dim}; another "
                "feature may contain it (--state-key)"
            )
    return data


def named_like(data: Dataset, tok: ActionTokenizer) -> ActionTokenizer:
    """Returns the tokenizer with statistics for each embodiment of the data.

    `ActionTokenizer.fit(chunks, stats=NormStats(...))` gives statistics without a name. They are for any data. All other
    tokenizers are returned as they are.
    """
    if [*tok.stats] != [""]:
        return tok
    (stats,), transform = tok.stats.values(), tok.transforms.get("")
    transforms = {} if transform is None else dict.fromkeys(data.groups, transform)
    return replace(tok, stats=dict.fromkeys(data.groups, stats), transforms=transforms)
