"""Encodes pixels as an image, resized if a mixture asks for it: the only place where a build encodes images."""

import io
import platform
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fasttok.common import images
from fasttok.errors import InputError, require, unknown_name
from mixtures.spec import IMAGE_FORMATS, ImageFormat, Resize

if TYPE_CHECKING:
    from PIL.Image import Image

QUALITY = 95


def encode(
    pixels: NDArray[np.uint8],
    format: ImageFormat = "jpeg",
    quality: int = QUALITY,
    resize: Resize | None = None,
    bgr: bool = False,
) -> bytes:
    """Resizes pixels, if asked, and encodes them once.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        format: format of the result.
        quality: quality of JPEG and WebP, in [1, 100]. `resize.quality` has no effect here: it is for images that were encoded
            before.
        resize: the new size, and how to fit; None keeps the size of the pixels.
        bgr: whether the channels are stored as BGR; they are then reversed.

    Raises:
        InputError: Pillow is not installed, the pixels are no image, or the format is unknown or has no images of that size.
    """
    image_module = require("PIL.Image", "pipelines", "encoding images")
    if format not in IMAGE_FORMATS:
        raise unknown_name("image format", format, IMAGE_FORMATS)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise InputError(f"pixels of shape {pixels.shape} and type {pixels.dtype}; expected (height, width, 3) uint8")
    picture = image_module.fromarray(np.ascontiguousarray(pixels[..., ::-1] if bgr else pixels))
    return encoded(picture if resize is None else fitted(picture, picture.size, resize), format, quality)


def encoded(picture: "Image", form: ImageFormat, quality: int) -> bytes:
    """Encodes an RGB picture. The same versions of the libraries give the same bytes (see `versions`).

    Raises:
        InputError: the format has no images of that size.
    """
    out = io.BytesIO()
    options = {} if form == "png" else {"quality": quality}
    try:
        picture.save(out, form.upper(), **options)
    except (OSError, ValueError) as error:  # a side has at most 16,383 pixels in WebP, 65,500 in JPEG
        raise InputError(f"{picture.width} x {picture.height} pixels cannot be encoded as {form}: {error}") from None
    return out.getvalue()


def fitted(picture: "Image", size: tuple[int, int], to: Resize) -> "Image":
    """Resizes a picture to the size that a mixture asks for (bicubic); returns the same object if it already has that size.

    Args:
        picture: an RGB picture.
        size: (width, height) of the recorded picture; `picture` may have been decoded at a half or a quarter of it.
        to: the new size, and how to fit.
    """
    frame = (to.width, to.height)
    inner = images.inner_size(size, frame, to.fit)
    return images.resized(picture, inner, "bicubic", frame if to.fit == "pad" else None)


def target(width: int, height: int, to: Resize) -> tuple[int, int]:
    """Returns the (width, height) of an image of this size after resizing.

    >>> target(640, 480, Resize(224, 224)), target(640, 480, Resize(224, 224, "pad"))
    ((224, 168), (224, 224))
    """
    if to.fit == "inside" and width and height:
        return images.inner_size((width, height), (to.width, to.height), "inside")
    return to.width, to.height


def versions(video: bool = True) -> dict[str, str]:
    """Returns what decides the bytes of encoded frames: name -> version, "none" for a library that this installation lacks.

    Args:
        video: whether the frames come from video. Then PyAV, its FFmpeg libraries, and the kind of processor decide too: colours
            are converted differently on another kind.
    """
    from PIL import __version__, features

    libraries = {"Pillow": __version__}
    for name, feature in (
        ("libjpeg-turbo", "libjpeg_turbo"),
        ("zlib-ng", "zlib_ng"),
        ("zlib", "zlib"),
        ("libwebp", "webp"),
    ):
        libraries[name] = str(features.version(feature) or "none")
    if not video:
        return libraries
    av = require("av", "pipelines", "reading video")
    parts = {
        name: ".".join(map(str, av.library_versions[name])) for name in ("libavcodec", "libavformat", "libswscale")
    }
    return {"PyAV": av.__version__, **parts, "processor": platform.machine(), **libraries}
