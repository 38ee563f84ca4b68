"""Writes the commands that a command suggests to its user. They contain real paths, so that a user can paste them unchanged."""

import posixpath
import shlex
from itertools import count
from pathlib import Path

from fasttok.common.urls import as_typed, is_url


def beside(path: str | Path, name: str, *, local: bool = False) -> str:
    """Returns a path with this name, in the folder of `path`. If the name is taken, a number is added to it.

    Args:
        path: a path or a URL.
        name: the name.
        local: True for what can only be a local folder. Beside a URL, this is a path in the current folder.

    >>> beside("data/index", "tokenizer"), beside("gs://bucket/index/", "shards"), beside("index", "shards_of_nothing")
    ('data/tokenizer', 'gs://bucket/shards', 'shards_of_nothing')
    >>> beside("gs://bucket/index", "tokenizer_of_it", local=True)
    'tokenizer_of_it'
    """
    text = as_typed(path) if isinstance(path, Path) else path
    folder = "" if local and is_url(text) else posixpath.dirname(text.rstrip("/"))
    tried = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(place for n in tried if is_url(place := posixpath.join(folder, n)) or not Path(place).exists())


def command(*words: str | Path) -> str:
    """Returns the words as a user types them in a shell.

    >>> command("fasttok", "eval", "my tokenizer", Path("index"))
    "fasttok eval 'my tokenizer' index"
    """
    return shlex.join(as_typed(word) if isinstance(word, Path) else word for word in words)
