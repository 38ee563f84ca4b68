"""Images of another size: the only place where a build decodes and encodes an image, because a mixture asked for it."""

import io

from fasttok.common import images
from fasttok.errors import require
from mixtures.spec import Resize
from pipelines.common.image_headers import PNG_MAGIC, jpeg_size, png_size


def resized(data: bytes, to: Resize, bgr: bool = False) -> tuple[bytes, bool]:
    """(JPEG bytes of that size, True), or (the very bytes, False) of an image that has it already.

    Args:
        data: JPEG or PNG.
        to: the size, and how to fit.
        bgr: the channels are stored reversed; they are turned, as the image is encoded anyway. Such an image is never passed on.

    Raises:
        UndecodableError: it cannot be decoded.
        InputError: Pillow is not installed.
    """
    size = png_size(data) if data.startswith(PNG_MAGIC) else jpeg_size(data)
    if size == target(*size, to) and not bgr:
        return data, False
    image_module = require("PIL.Image", "pipelines", "resizing images")
    # A JPEG decodes to a half, a quarter or an eighth on the way; twice the size asked for keeps the filter's work.
    picture = images.decoded(images.opened(data), near=(2 * to.width, 2 * to.height))
    if bgr:
        red, green, blue = picture.split()
        picture = image_module.merge("RGB", (blue, green, red))
    frame = (to.width, to.height)
    inner = images.inner_size(size, frame, to.fit)
    picture = images.resized(picture, inner, "bicubic", frame if to.fit == "pad" else None)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=to.quality)
    return out.getvalue(), True


def target(width: int, height: int, to: Resize) -> tuple[int, int]:
    """(width, height) that an image of this size comes out with.

    >>> target(640, 480, Resize(224, 224)), target(640, 480, Resize(224, 224, "pad"))
    ((224, 168), (224, 224))
    """
    if to.fit == "inside" and width and height:
        return images.inner_size((width, height), (to.width, to.height), "inside")
    return to.width, to.height
