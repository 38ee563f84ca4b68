"""Commands that a command prints for its user: they name real paths, so that they can be pasted as they are."""

import posixpath
import shlex
from itertools import count
from pathlib import Path

from fasttok.common.urls import is_url


def beside(path: str | Path, name: str) -> str:
    """A path of that name in the folder in which `path` is; with a number behind it if it is taken.

    >>> beside("data/index", "tokenizer"), beside("gs://bucket/index/", "shards"), beside("index", "shards_of_nothing")
    ('data/tokenizer', 'gs://bucket/shards', 'shards_of_nothing')
    """
    folder = posixpath.dirname(str(path).rstrip("/"))
    tried = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(place for n in tried if is_url(place := posixpath.join(folder, n)) or not Path(place).exists())


def command(*words: str | Path) -> str:
    """Words as they are typed in a shell.

    >>> command("fasttok", "eval", "my tokenizer", Path("index"))
    "fasttok eval 'my tokenizer' index"
    """
    return shlex.join(map(str, words))
