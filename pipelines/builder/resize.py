"""Images of another size: the only place where a build decodes and encodes an image, because a mixture asked for it."""

import io

from fasttok.errors import require
from mixtures.spec import Resize
from pipelines.common.images import PNG_MAGIC, jpeg_size, png_size


class Unreadable(ValueError):
    """An image that cannot be decoded."""


def resized(data: bytes, to: Resize, bgr: bool = False) -> tuple[bytes, bool]:
    """(JPEG bytes of that size, True), or (the very bytes, False) of an image that has it already.

    Args:
        bgr: the channels are stored reversed; they are turned, as the image is encoded anyway. Such an image is never passed on.

    Raises:
        Unreadable: it cannot be decoded.
        InputError: Pillow is not installed.
    """
    width, height = png_size(data) if data.startswith(PNG_MAGIC) else jpeg_size(data)
    if (width, height) == target(width, height, to) and not bgr:
        return data, False
    image_module = require("PIL.Image", "pipelines", "resizing images")
    try:
        with image_module.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            # A JPEG decodes to a half, a quarter or an eighth on the way; twice the size asked for keeps the filter's work.
            image.draft("RGB", (2 * to.width, 2 * to.height))
            picture = image.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise Unreadable(str(error)) from None
    if bgr:
        red, green, blue = picture.split()
        picture = image_module.merge("RGB", (blue, green, red))
    inner = inside(width, height, to) if to.fit != "stretch" else (to.width, to.height)
    if picture.size != inner:
        picture = picture.resize(inner, image_module.Resampling.BICUBIC)
    if to.fit == "pad" and inner != (to.width, to.height):
        canvas = image_module.new("RGB", (to.width, to.height))
        canvas.paste(picture, ((to.width - inner[0]) // 2, (to.height - inner[1]) // 2))
        picture = canvas
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=to.quality)
    return out.getvalue(), True


def inside(width: int, height: int, to: Resize) -> tuple[int, int]:
    """The largest (width, height) in the image's proportions that fits; never larger than the image, unless it is padded.

    >>> inside(640, 480, Resize(224, 224)), inside(64, 64, Resize(224, 224)), inside(64, 32, Resize(224, 224, "pad"))
    ((224, 168), (64, 64), (224, 112))
    """
    scale = min(to.width / width, to.height / height)
    if to.fit == "inside":
        scale = min(scale, 1.0)
    return max(1, round(width * scale)), max(1, round(height * scale))


def target(width: int, height: int, to: Resize) -> tuple[int, int]:
    """(width, height) that an image of this size comes out with."""
    return inside(width, height, to) if to.fit == "inside" and width and height else (to.width, to.height)
