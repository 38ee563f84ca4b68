"""Encoded images of another size, because a mixture asked for it."""

from fasttok.common import images
from fasttok.errors import require
from mixtures.spec import Resize
from pipelines.common.encode_image import encoded, fitted, target
from pipelines.common.image_headers import image_size


def resized(data: bytes, to: Resize, bgr: bool = False) -> tuple[bytes, bool]:
    """(JPEG bytes of that size, True), or (the very bytes, False) of an image that has it already.

    Args:
        data: JPEG, PNG or WebP.
        to: the size, and how to fit.
        bgr: the channels are stored reversed; they are turned, as the image is encoded anyway. Such an image is never passed on.

    Raises:
        UndecodableError: it cannot be decoded.
        InputError: Pillow is not installed.
    """
    size = image_size(data)
    if size == target(*size, to) and not bgr:
        return data, False
    image_module = require("PIL.Image", "pipelines", "resizing images")
    # A JPEG decodes to a half, a quarter or an eighth on the way; twice the size asked for keeps the filter's work.
    picture = images.decoded(images.opened(data), near=(2 * to.width, 2 * to.height))
    if bgr:
        red, green, blue = picture.split()
        picture = image_module.merge("RGB", (blue, green, red))
    return encoded(fitted(picture, size, to), "jpeg", to.quality), True
