"""Finds the entry of a dataset: in --entries, in its own `dataset.yaml`, then among the packaged ones, in this order."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fasttok.common import stores
from fasttok.common.next_command import command
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.episodes.formats import OWN_ENTRY
from fasttok.errors import InputError, unknown_name
from mixtures.yaml_lines import decoded
from pipelines.datasets.entry_parser import parse_entry
from pipelines.datasets.packaged_entries import packaged


def find_entry(directory: str, dataset: str, extra: Sequence[str] = ()) -> DatasetEntry:
    """Finds the entry of a dataset directory.

    Args:
        directory: path or URL of the dataset.
        dataset: its name (TFDS name, or the folder's).
        extra: YAML files or folders of them, which come first.

    Raises:
        InputError: no entry is found, or the entry is wrong.
    """
    own = own_entry(directory, dataset, extra)
    if own is not None:
        return own
    known = packaged()
    if dataset in known:
        return parse_entry(known[dataset], f"pipelines/datasets/entries/{dataset}.yaml")
    close = difflib.get_close_matches(dataset, known, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else "."
    others = ", ".join(sorted(entry.name for _, entry in _given(extra)))
    guess += f" --entries has entries of other names: {others}." if others else ""
    raise InputError(
        f"no entry says what the features of {dataset!r} mean{guess} Draft one: "
        f"{command('fasttok-pipelines', 'datasets', 'draft', directory)}; it goes to {directory}/{OWN_ENTRY}, or --entries names "
        "it (docs/datasets.md)"
    )


def own_entry(directory: str, dataset: str, extra: Sequence[str] = ()) -> DatasetEntry | None:
    """Returns the entry that a user wrote: from --entries, or the folder's dataset.yaml; None if there is neither.

    Args:
        directory: path or URL of the dataset.
        dataset: its name.
        extra: YAML files or folders of them, which come first.

    Raises:
        InputError: the entry is wrong.
    """
    for file, entry in _given(extra):
        if entry.name == dataset:
            return _placed(entry, str(file.absolute().parent))
    filesystem, root = stores.filesystem(directory)
    if stores.kind_at(filesystem, f"{root}/{OWN_ENTRY}") == "file":
        where = f"{directory}/{OWN_ENTRY}"
        return _placed(parse_entry(decoded(filesystem.cat_file(f"{root}/{OWN_ENTRY}"), where), where), directory)
    return None


def refuse_unused(extra: Sequence[str], datasets: Iterable[str]) -> None:
    """Checks that each file of --entries is the entry of one of the command's datasets. Folders may have more entries.

    Args:
        extra: YAML files or folders of them.
        datasets: names of the datasets.

    Raises:
        InputError: a file has the entry of another dataset, or a wrong entry.
    """
    names = list(datasets)
    for file, entry in _given([place for place in extra if not Path(place).is_dir()]):
        if entry.name not in names:
            raise InputError(f"--entries {file}: name: {unknown_name('dataset', entry.name, names)}")


def _given(extra: Sequence[str]) -> Iterator[tuple[Path, DatasetEntry]]:
    """Yields (file, entry) of the files that --entries names, and of the files in the folders that it names.

    Raises:
        InputError: a file or folder is missing or cannot be read, or an entry is wrong.
    """
    for place in extra:
        path = Path(place)
        if not path.exists():
            raise InputError(f"--entries {place}: no such file or folder")
        for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
            try:
                data = file.read_bytes()
            except OSError as error:
                raise InputError(f"--entries {file}: cannot be read: {error.strerror or error}") from None
            yield file, parse_entry(decoded(data, str(file)), str(file))


def _placed(entry: DatasetEntry, folder: str) -> DatasetEntry:
    """Returns the entry with `folder` before the name of its file of ranges, so that it is found from anywhere."""
    if entry.keep_ranges is None or not entry.keep_ranges.file:
        return entry
    return replace(entry, keep_ranges=replace(entry.keep_ranges, file=f"{folder.rstrip('/')}/{entry.keep_ranges.file}"))
