"""The tokenizer inside SHARDS, which made the FAST ids."""

import tempfile
from functools import lru_cache
from pathlib import Path

from fasttok import ActionTokenizer
from pipelines.common.files import filesystem, is_local


def load_tokenizer(folder: str) -> ActionTokenizer:
    """The tokenizer in a folder, local or on an object store; the last two are kept while their files stay as they are.

    Raises:
        InputError: there is none, or it is damaged.
    """
    fs, path = filesystem(folder)
    files = sorted(fs.ls(path, detail=False)) if fs.isdir(path) else []
    return _load(folder, tuple((file, fs.ukey(file)) for file in files))


@lru_cache(maxsize=2)
def _load(folder: str, files: tuple[tuple[str, str], ...]) -> ActionTokenizer:
    """Loads a tokenizer; `files` are (path, key of its state) of each file, so that a changed folder is loaded again."""
    fs, path = filesystem(folder)
    if is_local(fs):
        return ActionTokenizer.load(path)
    with tempfile.TemporaryDirectory() as temporary:
        for file, _ in files:
            Path(temporary, file.rsplit("/", 1)[-1]).write_bytes(fs.cat_file(file))
        return ActionTokenizer.load(temporary)
