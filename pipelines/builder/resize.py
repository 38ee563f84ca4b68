"""Resizes encoded images, if a mixture asks for it."""

from fasttok.common import images
from fasttok.errors import require
from mixtures.spec import Resize
from pipelines.common.encode_image import encoded, fitted, target


def resized(data: bytes, to: Resize, bgr: bool = False) -> tuple[bytes, bool]:
    """Resizes an encoded image.

    Args:
        data: bytes of a JPEG, PNG or WebP image.
        to: the size, and how the image is fitted to it.
        bgr: whether the channels are stored reversed. They are then put in order, even if the image has the right size.

    Returns:
        (JPEG bytes of the resized image, True), or (`data`, False) if the image needs no change.

    Raises:
        UndecodableError: the image cannot be decoded.
        InputError: Pillow is not installed.
    """
    image_module = require("PIL.Image", "pipelines", "resizing images")
    opened = images.opened(data)
    size = images.shown_size(opened)
    if size == target(*size, to) and not bgr:
        return data, False
    # A JPEG may be decoded at a half, a quarter or an eighth of its size; twice the target size leaves the filter its work.
    picture = images.decoded(opened, near=(2 * to.width, 2 * to.height))
    if bgr:
        red, green, blue = picture.split()
        picture = image_module.merge("RGB", (blue, green, red))
    return encoded(fitted(picture, size, to), "jpeg", to.quality), True
