"""Which columns of steps are images: they hold the bytes of image files."""

MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"BM", b"GIF8")


def is_picture(values: object) -> bool:
    r"""Whether a step feature contains encoded images, as its first value tells.

    >>> is_picture([b"\x89PNG\r\n"]), is_picture([b"lift the cup"])
    (True, False)
    """
    first = next((value for value in values if value), b"") if isinstance(values, list) else b""
    return isinstance(first, bytes) and first.startswith(MAGIC)
