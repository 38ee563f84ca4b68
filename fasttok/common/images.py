"""Encoded images to pixels of another size: the one place where images are decoded and resized.

Shards are built with images as the datasets encoded them; a build resizes only if a mixture asks for it (bicubic), and trainers
resize to what the model sees (bilinear). Both filters are Pillow's. Needs Pillow, which callers ask for with `require`.
"""

import io
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP")  # that shards hold, by Pillow's names
MAX_PIXELS = 64_000_000  # larger is a decompression bomb, not a camera
Filter = Literal["bilinear", "bicubic"]
"""How the pixels of another size follow from those of an image."""
Fit = Literal["inside", "pad", "stretch"]
"""How an image gets another size: the largest that fits, in its own proportions, never enlarged; the largest that fits, centred
on black; or with other proportions."""


class UndecodableError(ValueError):
    """An image that cannot be decoded."""


def opened(data: bytes | memoryview, formats: tuple[str, ...] | None = FORMATS) -> "Image":
    """An encoded image of which only the header was read.

    Raises:
        UndecodableError: it is of none of the formats, damaged, or too large.

    >>> opened(b"GIF89a")
    Traceback (most recent call last):
    fasttok.common.images.UndecodableError: it cannot be recognised as JPEG, PNG, WEBP
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:  # whose text names an object in memory
        raise UndecodableError(f"it cannot be recognised as {', '.join(formats or ('an image',))}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UndecodableError(str(error)) from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UndecodableError(f"{width} x {height} pixels, more than {MAX_PIXELS:,}")
    return image


def decoded(image: "Image", near: tuple[int, int] | None = None) -> "Image":
    """An opened image as RGB pixels.

    Args:
        image: from `opened`.
        near: (width, height): lets the JPEG library decode at a half, a quarter or an eighth, if that is not smaller.

    Raises:
        UndecodableError: it is damaged.
    """
    try:
        if near is not None:
            image.draft("RGB", near)
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")  # which copies even where it need not
    except (OSError, SyntaxError, ValueError) as error:
        raise UndecodableError(str(error)) from None


def inner_size(size: tuple[int, int], to: tuple[int, int], fit: Fit) -> tuple[int, int]:
    """(width, height) of an image of this size in a frame.

    Args:
        size: (width, height) of the image.
        to: (width, height) of the frame.
        fit: "inside": the largest in the image's proportions, never enlarged; "pad": the same, but enlarged if it is smaller;
            "stretch": the frame.

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
    """An image of another size; the very image if it has that size.

    Args:
        image: RGB.
        inner: (width, height) that it is resized to.
        by: filter.
        frame: (width, height) of a black canvas on which it is centred; None for none.
    """
    from PIL import Image

    if image.size != inner:
        image = image.resize(inner, {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[by])
    if frame is None or frame == inner:
        return image
    canvas = Image.new("RGB", frame)
    canvas.paste(image, ((frame[0] - inner[0]) // 2, (frame[1] - inner[1]) // 2))
    return canvas
