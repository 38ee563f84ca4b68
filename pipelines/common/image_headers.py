"""Encoded images, looked at without decoding: is this a JPEG or PNG, of a sane size, and what its name says?"""

import struct

from fasttok.common.images import MAX_PIXELS
from fasttok.common.lfs_pointer import POINTER, is_pointer

MAX_BYTES = 1 << 28  # of an encoded image: more than MAX_PIXELS take in a PNG that saves nothing, 4 bytes a pixel
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
FORMATS = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif"),
    "PNG": ("png",),
    "GIF": ("gif",),
    "WebP": ("webp",),
    "BMP": ("bmp",),
    "TIFF": ("tif", "tiff"),
    "AVIF": ("avif",),
    "HEIC": ("heic", "heif"),
    "SVG": ("svg",),
}
CLAIMS = {extension: name for name, extensions in FORMATS.items() for extension in extensions}


def format_of(data: bytes) -> str:
    """The image format that the first bytes show, "" where they show none.

    >>> format_of(b"RIFF....WEBPVP8 "), format_of(b"hello")
    ('WebP', '')
    """
    starts = {"JPEG": b"\xff\xd8", "PNG": PNG_MAGIC, "GIF": b"GIF8", "BMP": b"BM", "SVG": b"<svg"}
    for name, magic in starts.items():
        if data.startswith(magic):
            return name
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    return "AVIF" if brand in (b"avif", b"avis") else "HEIC" if brand in (b"heic", b"heix", b"mif1") else ""


def check_extension(data: bytes, name: str) -> str:
    r"""What is wrong with a name's extension, "" if it fits the bytes or is not one of an image format.

    >>> check_extension(b"\xff\xd8\xff", "a.png")
    'named .png, holds a JPEG'
    >>> check_extension(b"\xff\xd8\xff", "a.JPG"), check_extension(b"\xff\xd8\xff", "a")
    ('', '')
    """
    extension = name.rsplit("/", 1)[-1].rpartition(".")[2].lower()
    found = format_of(data)
    return f"named .{extension}, holds a {found}" if found and CLAIMS.get(extension, found) != found else ""


def check_header(data: bytes) -> str:
    """What is wrong with an encoded image, "" if its header is sound.

    >>> check_header(b"GIF89a")
    'a GIF, neither JPEG nor PNG'
    """
    size = png_size(data) if data.startswith(PNG_MAGIC) else jpeg_size(data) if data.startswith(b"\xff\xd8") else None
    if is_pointer(data):
        return POINTER
    if size is None:
        known = format_of(data)
        found = f"a {known}, neither JPEG nor PNG" if known else f"neither JPEG nor PNG (starts with {data[:4].hex()})"
        return found if data else "no bytes"
    if len(data) > MAX_BYTES:
        return f"{len(data):,} bytes, more than {MAX_BYTES:,}"
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
