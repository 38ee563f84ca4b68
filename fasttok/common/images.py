"""Decodes and resizes images, for builds, trainers and policies.

Shards contain images as the datasets encoded them. A build resizes only if a mixture asks for it (bicubic), and trainers resize
to what the model sees (bilinear). Both filters are Pillow's. This module needs Pillow; its callers check for it with `require`.
"""

import io
import re
import struct
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP")  # image formats of shards, by Pillow's names
ORIENTATION = 0x0112  # the EXIF tag: 1 is upright; from 5 on, width and height are exchanged
JPEG_END, PNG_END = b"\xff\xd9", b"IEND"
# Coded pixels contain 255 with a zero after it, restart markers (d0 to d7) and filling (255 again), and no other marker.
JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# How each orientation becomes upright, by the numbers of Pillow's `Image.Transpose`.
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
MAX_PIXELS = 64_000_000  # a larger image is a decompression bomb, not a camera's
Filter = Literal["bilinear", "bicubic"]
"""How the pixels of a resized image are computed."""
Fit = Literal["inside", "pad", "stretch"]
"""How an image fits into a frame. inside: as large as fits in its own proportions, but never enlarged; pad: as large as fits in
its own proportions, centred on black; stretch: the size of the frame, with other proportions."""


class UndecodableError(ValueError):
    """An image that cannot be decoded."""


def opened(data: bytes | memoryview, formats: tuple[str, ...] | None = FORMATS) -> "Image":
    """Opens an encoded image and reads only its header.

    Raises:
        UndecodableError: the image has none of the formats, is damaged, or is too large.

    >>> opened(b"GIF89a")
    Traceback (most recent call last):
    fasttok.common.images.UndecodableError: it cannot be recognised as JPEG, PNG, WEBP
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:  # its text names a Python object, which says nothing to a user
        raise UndecodableError(f"it cannot be recognised as {', '.join(formats or ('an image',))}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UndecodableError(str(error)) from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UndecodableError(f"{width} x {height} pixels, more than {MAX_PIXELS:,}")
    return image


def decoded(image: "Image", near: tuple[int, int] | None = None) -> "Image":
    """Decodes an opened image to RGB pixels, turned as EXIF says that it is shown.

    Args:
        image: from `opened`.
        near: (width, height) that the caller needs. The JPEG library may then decode at a half, a quarter or an eighth of the
            size, if that is not smaller than `near`. None for the full size.

    Raises:
        UndecodableError: the image is damaged.
    """
    from PIL import Image

    try:
        turned = _orientation(image)
        if near is not None:
            image.draft("RGB", near if turned < 5 else (near[1], near[0]))
        image.load()
        if image.mode.startswith("I"):  # 16 bits of grey, of which `convert` would keep the lowest 8 as white
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image = image if image.mode == "RGB" else image.convert("RGB")  # `convert` copies even an RGB image
        return image if turned == 1 else image.transpose(Image.Transpose(TURNS[turned]))
    except (OSError, SyntaxError, ValueError) as error:
        raise UndecodableError(str(error)) from None


def shown_size(image: "Image") -> tuple[int, int]:
    """Returns the (width, height) that `decoded` gives an opened image: phones store some pictures turned, and EXIF says so."""
    width, height = image.size
    return (width, height) if _orientation(image) < 5 else (height, width)


def _orientation(image: "Image") -> int:
    """Returns 1 for an upright image, up to 8 for one that is turned or mirrored, as EXIF numbers them."""
    if "exif" not in image.info:
        return 1
    try:
        found = image.getexif().get(ORIENTATION)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):  # damaged notes of a sound image
        return 1
    return found if isinstance(found, int) and found in TURNS else 1


def has_end(data: bytes) -> bool:
    r"""Whether an encoded image has its end. Anything may follow: cameras and phones write notes or a second picture after it.

    Formats other than JPEG and PNG have no end that can be looked for; for them it is True.

    >>> has_end(b"\xff\xd8\xff\xd9 a note of the camera"), has_end(b"\xff\xd8\xff\xda\x00\x02 pixels")
    (True, False)
    """
    if data.startswith(b"\xff\xd8"):
        return JPEG_END in data[-64:] or _jpeg_ends(data)
    return not data.startswith(b"\x89PNG") or PNG_END in data[-16:] or _png_ends(data)


def _jpeg_ends(data: bytes) -> bool:
    """Goes from marker to marker. A thumbnail, which has an end of its own, is inside of what a marker passes over."""
    at = 2
    while found := JPEG_MARKER.search(data, at):
        at = found.end()
        if found[0] == JPEG_END:
            return True
        if found[0] != b"\xff\x01":  # the one that has no length
            at += max(int.from_bytes(data[at : at + 2]), 2)
    return False


def _png_ends(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        if data[at + 4 : at + 8] == PNG_END:
            return True
        at += 12 + int.from_bytes(data[at : at + 4])
    return False


def inner_size(size: tuple[int, int], to: tuple[int, int], fit: Fit) -> tuple[int, int]:
    """Returns the (width, height) that an image gets in a frame.

    Args:
        size: (width, height) of the image.
        to: (width, height) of the frame.
        fit: "inside": the largest size in the image's proportions, but never enlarged; "pad": the same, but enlarged if the
            image is smaller; "stretch": the size of the frame.

    >>> inner_size((640, 480), (224, 224), "inside"), inner_size((64, 64), (224, 224), "inside")
    ((224, 168), (64, 64))
    >>> inner_size((64, 32), (224, 224), "pad"), inner_size((64, 32), (224, 224), "stretch")
    ((224, 112), (224, 224))
    """
    if fit == "stretch":
        return to
    (width, height), scale = size, min(to[0] / size[0], to[1] / size[1])
    if fit == "inside":
        scale = min(scale, 1.0)
    return max(1, round(width * scale)), max(1, round(height * scale))


def resized(image: "Image", inner: tuple[int, int], by: Filter, frame: tuple[int, int] | None = None) -> "Image":
    """Returns an image of another size; the same object if it has that size already.

    Args:
        image: an RGB image.
        inner: (width, height) to resize the image to.
        by: the filter.
        frame: (width, height) of a black canvas on which the image is centred; None for none.
    """
    from PIL import Image

    if image.size != inner:
        image = image.resize(inner, {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[by])
    if frame is None or frame == inner:
        return image
    canvas = Image.new("RGB", frame)
    canvas.paste(image, ((frame[0] - inner[0]) // 2, (frame[1] - inner[1]) // 2))
    return canvas
