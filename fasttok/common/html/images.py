"""Pictures inside a page."""

import base64
import html

from fasttok.common.html.markup import Markup

# An SVG filter, so that the bytes stay as they are and nothing has to decode them.
CHANNEL_SWAP = Markup(
    '<svg width="0" height="0" style="position:absolute" aria-hidden="true"><filter id="swap-red-blue" '
    'color-interpolation-filters="sRGB"><feColorMatrix values="0 0 1 0 0  0 1 0 0 0  1 0 0 0 0  0 0 0 1 0"/></filter></svg>'
)


def image_kind(data: bytes) -> str:
    r"""The format, by the first bytes: png, webp, gif or jpeg. Anything else is called jpeg; browsers show it as broken.

    >>> image_kind(b"GIF89a"), image_kind(b"\xff\xd8")
    ('gif', 'jpeg')
    """
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    return "png" if data.startswith(b"\x89PNG") else "gif" if data.startswith(b"GIF8") else "jpeg"


def image(data: bytes, width: int = 128, alt: str = "", swapped: bool = False) -> Markup:
    """An embedded image, as encoded, enlarged without smoothing.

    Args:
        data: the encoded picture.
        width: pixels on the page.
        alt: text for those who do not see it.
        swapped: it was stored with red and blue exchanged, and is shown right. The page needs `CHANNEL_SWAP` once.

    >>> image(b"GIF89a", 8)
    '<img src="data:image/gif;base64,R0lGODlh" width="8" alt="">'
    """
    source = f"data:image/{image_kind(data)};base64,{base64.b64encode(data).decode()}"
    style = ' style="filter:url(#swap-red-blue)"' if swapped else ""
    return Markup(f'<img src="{source}" width="{width}" alt="{html.escape(alt)}"{style}>')
