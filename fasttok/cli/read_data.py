"""The data of a command's arguments: episodes with progress, and chunks cut as a tokenizer's embodiments are."""

from collections.abc import Iterator

from fasttok.actions.dataset import ChunkConfig, Dataset, embodiment_name
from fasttok.common.console import log, track
from fasttok.episodes import Episode, Episodes, open_episodes
from fasttok.errors import InputError
from fasttok.tokenizer import ActionTokenizer


def read(paths: tuple[str, ...], split: str) -> Iterator[Episode]:
    """Episodes of all paths, with progress; bad records are reported, not dropped silently.

    Raises:
        InputError: no path, or nothing readable in one.
    """
    if not paths:
        raise InputError("no data: give an INDEX, an RLDS directory, a LeRobot folder, or npz, parquet or HDF5 files")
    for path, source in [(path, open_episodes(path, split)) for path in paths]:
        for episode in track(source, f"reading {source.name}", source.count, "episodes"):
            episode.metadata["source"] = path
            yield episode
        _report_bad(source)


def _report_bad(source: Episodes) -> None:
    if source.bad:
        counts = ", ".join(f"{n} {reason}" for reason, n in source.bad.items())
        log(f"{source.name}: {sum(source.bad.values())} records left out ({counts}); the first: {source.first_bad}")


def dataset_for(
    tok: ActionTokenizer,
    paths: tuple[str, ...],
    split: str,
    horizon: int | None,
    action_key: str,
    every: bool = False,
) -> Dataset:
    """The data's actions, grouped and cut as the tokenizer's embodiments are; `every` counts all episodes as held out.

    Raises:
        InputError: the data's dims are not the tokenizer's, or no horizon is known.
    """
    only = next(iter(tok.embodiments)) if len(tok.embodiments) == 1 else None

    def episodes() -> Iterator[Episode]:
        for episode in read(paths, split):
            name = embodiment_name(episode)
            if tok.embodiments and name not in tok.embodiments:
                own = embodiment_name(episode, apart=True)
                if only is None and own not in tok.embodiments:
                    tok.embodiment(name)
                episode.metadata["embodiment"] = own if own in tok.embodiments else only
            yield episode

    if not tok.embodiments and horizon is None:
        raise InputError("this tokenizer does not say its horizon; pass --horizon")
    return Dataset(episodes(), ChunkConfig(horizon, action_key=action_key), tok.embodiments, every=every)
