"""Loads the tokenizer inside SHARDS, which made the FAST ids."""

import tempfile
from functools import lru_cache
from pathlib import Path

from fasttok import ActionTokenizer
from fasttok.common.stores import fresh, kind_at
from fasttok.storage.folder import SUBFOLDER
from pipelines.common.files import filesystem, is_local, join


def load_tokenizer(folder: str) -> ActionTokenizer:
    """Loads the tokenizer in a folder, local or on an object store. The last two stay in memory until their files change.

    Raises:
        InputError: there is no tokenizer, or it is damaged.
    """
    fs, path = filesystem(folder)
    return _load(folder, tuple((name, fs.ukey(join(path, name))) for name in relative_files(folder)))


def relative_files(folder: str) -> list[str]:
    """Returns the sorted relative paths of the files in a tokenizer folder and in its `bpe_tokenizer/`."""
    fs, path = fresh(folder)
    found = []
    for prefix in ("", f"{SUBFOLDER}/"):
        inner = f"{path.rstrip('/')}/{prefix}".rstrip("/")
        if kind_at(fs, inner) == "directory":
            files = (entry["name"] for entry in fs.ls(inner, detail=True) if entry["type"] == "file")
            found += [prefix + file.rsplit("/", 1)[-1] for file in files]
    return sorted(found)


@lru_cache(maxsize=2)
def _load(folder: str, files: tuple[tuple[str, str], ...]) -> ActionTokenizer:
    """Loads a tokenizer. `files` are (relative path, key of the state) of each file, so that a changed folder is loaded again."""
    fs, path = filesystem(folder)
    if is_local(fs):
        return ActionTokenizer.load(path)
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary, SUBFOLDER).mkdir()
        for name, _ in files:
            Path(temporary, name).write_bytes(fs.cat_file(join(path, name)))
        return ActionTokenizer.load(temporary)
