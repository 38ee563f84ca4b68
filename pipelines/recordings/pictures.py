"""Tells whether a column of steps contains images, as the bytes of image files."""

MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"BM", b"GIF8")


def is_picture(values: object) -> bool:
    r"""Returns whether a step feature contains encoded images, judged by its first value that is not empty.

    >>> is_picture([b"\x89PNG\r\n"]), is_picture([b"lift the cup"])
    (True, False)
    """
    first = next((value for value in values if value), b"") if isinstance(values, list) else b""
    return isinstance(first, bytes) and first.startswith(MAGIC)
