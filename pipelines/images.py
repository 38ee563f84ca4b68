"""Encoded images, looked at without decoding: is this a JPEG or PNG, and of a sane size?"""

import struct

MAX_PIXELS = 64_000_000  # larger is a decompression bomb, not a camera
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def check_header(data: bytes) -> str:
    """What is wrong with an encoded image, "" if its header is sound.

    >>> check_header(b"GIF89a")
    'neither JPEG nor PNG (starts with 47494638)'
    """
    size = png_size(data) if data.startswith(PNG_MAGIC) else jpeg_size(data) if data.startswith(b"\xff\xd8") else None
    if size is None:
        return f"neither JPEG nor PNG (starts with {data[:4].hex()})" if data else "no bytes"
    width, height = size
    if width < 1 or height < 1:
        return "a truncated or damaged header"
    if width * height > MAX_PIXELS:
        return f"{width} x {height} pixels, more than {MAX_PIXELS:,}"
    if data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[-64:]:
        return "a JPEG without its end marker: truncated"
    if data.startswith(PNG_MAGIC) and b"IEND" not in data[-16:]:
        return "a PNG without its end chunk: truncated"
    return ""


def png_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a PNG, (0, 0) if its header is damaged."""
    if len(data) < 24 or data[12:16] != b"IHDR":
        return 0, 0
    return struct.unpack(">II", data[16:24])


def jpeg_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a JPEG's frame header, (0, 0) if there is none."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return 0, 0
        marker = data[at + 1]
        if marker in JPEG_FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:  # fill bytes and markers without a length
            at += 1 if marker == 0xFF else 2
            continue
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return 0, 0
