"""Checks encoded images without decoding them: their format, whether it is the one that the name says, and their size."""

import struct

from fasttok.common.images import MAX_PIXELS, has_end
from fasttok.common.lfs_pointer import POINTER, is_pointer

MAX_BYTES = 1 << 28  # largest encoded image: more than an uncompressed PNG of MAX_PIXELS at 4 bytes each
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
    """Returns the image format that the first bytes show, "" if they show none.

    >>> format_of(b"RIFF....WEBPVP8 "), format_of(b"hello")
    ('WebP', '')
    """
    starts = {"JPEG": b"\xff\xd8", "PNG": PNG_MAGIC, "GIF": b"GIF8", "BMP": b"BM", "SVG": b"<svg"}
    for name, magic in starts.items():
        if data.startswith(magic):
            return name
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    if is_webp(data):
        return "WebP"
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    return "AVIF" if brand in (b"avif", b"avis") else "HEIC" if brand in (b"heic", b"heix", b"mif1") else ""


def check_extension(data: bytes, name: str) -> str:
    r"""Returns what is wrong with the extension of a name, "" if it fits the bytes or belongs to no image format.

    >>> check_extension(b"\xff\xd8\xff", "a.png")
    'named .png, contains a JPEG'
    >>> check_extension(b"\xff\xd8\xff", "a.JPG"), check_extension(b"\xff\xd8\xff", "a")
    ('', '')
    """
    extension = name.rsplit("/", 1)[-1].rpartition(".")[2].lower()
    found = format_of(data)
    return f"named .{extension}, contains a {found}" if found and CLAIMS.get(extension, found) != found else ""


def check_header(data: bytes, webp: bool = False) -> str:
    """Returns what is wrong with an encoded image, "" if its header is sound.

    Args:
        data: bytes of the image.
        webp: whether WebP is allowed too: shards may contain it, source datasets may not.

    >>> check_header(b"GIF89a")
    'a GIF, neither JPEG nor PNG'
    """
    if is_pointer(data):
        return POINTER
    known = format_of(data)
    if known not in ("JPEG", "PNG", "WebP")[: 2 + webp]:
        neither = "neither JPEG nor PNG" + " nor WebP" * webp
        found = f"a {known}, {neither}" if known else f"{neither} (starts with {data[:4].hex()})"
        return found if data else "no bytes"
    if len(data) > MAX_BYTES:
        return f"{len(data):,} bytes, more than {MAX_BYTES:,}"
    width, height = image_size(data)
    if width < 1 or height < 1:
        return "a truncated or damaged header"
    if width * height > MAX_PIXELS:
        return f"{width} x {height} pixels, more than {MAX_PIXELS:,}"
    if not has_end(data):
        return f"a {known} without its end {'marker' if known == 'JPEG' else 'chunk'}: truncated"
    return _webp_problem(data) if known == "WebP" else ""


def image_size(data: bytes) -> tuple[int, int]:
    """Returns the (width, height) in the header of a JPEG, PNG or WebP, (0, 0) if it is damaged."""
    return png_size(data) if data.startswith(PNG_MAGIC) else webp_size(data) if is_webp(data) else jpeg_size(data)


def is_webp(data: bytes) -> bool:
    """Returns whether the first 12 bytes are those of a WebP."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def webp_size(data: bytes) -> tuple[int, int]:
    """Returns the (width, height) of a WebP, (0, 0) if its header is damaged."""
    kind = data[12:16]
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a" and len(data) >= 30:  # a key frame
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and data[20:21] == b"\x2f" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return 0, 0


def _webp_problem(data: bytes) -> str:
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        return "a WebP shorter than it says: truncated"
    return "an animated WebP, not one picture" if data[12:16] == b"VP8X" and data[20] & 2 else ""


def png_size(data: bytes) -> tuple[int, int]:
    """Returns the (width, height) of a PNG, (0, 0) if its header is damaged."""
    if len(data) < 24 or data[12:16] != b"IHDR":
        return 0, 0
    return struct.unpack(">II", data[16:24])


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Returns the (width, height) in the frame header of a JPEG, (0, 0) if there is no such header."""
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
