"""Robot datasets' directories, opened once in a process as long as the files that describe them do not change."""

from functools import lru_cache

from fasttok.episodes import rlds
from pipelines.common.files import file_version, join


def open_directory(directory: str, through: str) -> rlds.RldsDirectory:
    """A dataset's directory, read as the driver decided.

    Args:
        directory: path or URL of the TFDS version folder.
        through: "" for the raw reader, else why it is read through TFDS.
    """
    return _through_tfds(directory, through, _described(directory)) if through else open_raw(directory)


def open_raw(directory: str) -> rlds.RawRldsDirectory:
    """A dataset's directory, read without TFDS."""
    return _raw(directory, _described(directory))


def _described(directory: str) -> tuple[str, ...]:
    return tuple(file_version(join(directory, name)) for name in ("features.json", "dataset_info.json"))


@lru_cache(maxsize=64)
def _raw(directory: str, _version: tuple[str, ...]) -> rlds.RawRldsDirectory:
    return rlds.open_raw(directory)


@lru_cache(maxsize=64)
def _through_tfds(directory: str, through: str, _version: tuple[str, ...]) -> rlds.RldsDirectory:
    from fasttok.episodes.tfds import open_through_tfds

    return open_through_tfds(directory, through)
