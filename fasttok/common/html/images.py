"""Embeds pictures in a page."""

import base64
import html

from fasttok.common.html.markup import Markup

# The browser exchanges red and blue by an SVG filter, so the encoded bytes stay as they are and we need not decode them.
CHANNEL_SWAP = Markup(
    '<svg width="0" height="0" style="position:absolute" aria-hidden="true"><filter id="swap-red-blue" '
    'color-interpolation-filters="sRGB"><feColorMatrix values="0 0 1 0 0  0 1 0 0 0  1 0 0 0 0  0 0 0 1 0"/></filter></svg>'
)


def image_kind(data: bytes) -> str:
    r"""Returns the format by the first bytes: png, webp, gif or jpeg.

    Anything else is called jpeg; browsers show it as a broken image.

    >>> image_kind(b"GIF89a"), image_kind(b"\xff\xd8")
    ('gif', 'jpeg')
    """
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    return "png" if data.startswith(b"\x89PNG") else "gif" if data.startswith(b"GIF8") else "jpeg"


def image(data: bytes, width: int = 128, alt: str = "", swapped: bool = False) -> Markup:
    """Returns an `<img>` that contains the encoded bytes. The page enlarges it without smoothing.

    Args:
        data: the encoded picture.
        width: width on the page, in pixels.
        alt: text for readers who do not see the picture.
        swapped: whether red and blue are exchanged in the data; the page exchanges them back. It needs `CHANNEL_SWAP` once.

    >>> image(b"GIF89a", 8)
    '<img src="data:image/gif;base64,R0lGODlh" width="8" alt="">'
    """
    source = f"data:image/{image_kind(data)};base64,{base64.b64encode(data).decode()}"
    style = ' style="filter:url(#swap-red-blue)"' if swapped else ""
    return Markup(f'<img src="{source}" width="{width}" alt="{html.escape(alt)}"{style}>')
