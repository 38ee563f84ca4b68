"""Recognises URLs. This is not part of `fasttok.common.stores`, because it needs no fsspec."""

import re

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def is_url(path: str) -> bool:
    """Returns whether a path is a URL.

    >>> [is_url(path) for path in ("gs://bucket/a::b", "data/a::b", "/data/a://b", "C:/data", "file:///data")]
    [True, False, False, False, True]
    """
    return URL.match(path) is not None
