"""Recognises URLs. This is not part of `fasttok.common.stores`, because it needs no fsspec."""

import re
from pathlib import Path

LOST = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)")  # how a URL begins in a Path
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def is_url(path: str) -> bool:
    """Returns whether a path is a URL.

    >>> [is_url(path) for path in ("gs://bucket/a::b", "data/a::b", "/data/a://b", "C:/data", "file:///data")]
    [True, False, False, False, True]
    """
    return URL.match(path) is not None


def as_typed(path: Path) -> str:
    """Returns a path as text. If it was typed as a URL, the result is the URL, from which `Path` has taken a `/`.

    >>> [as_typed(Path(typed)) for typed in ("gs://bucket/a", "file:///data", "data/a", "C:/data", "/data/gs:/a")]
    ['gs://bucket/a', 'file:///data', 'data/a', 'C:/data', '/data/gs:/a']
    """
    text = str(path)
    lost = LOST.match(text)
    if lost is None or Path(f"{lost[1]}:").exists():
        return text
    return f"{lost[1]}://{'/' if lost[1].lower() == 'file' else ''}{text[lost.end() :]}"
