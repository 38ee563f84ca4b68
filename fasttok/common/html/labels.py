"""Small marks in the running text: bars of shares, badges, and tokens as chips."""

from collections.abc import Sequence

from fasttok.common.html.colours import PALETTE
from fasttok.common.html.markup import Markup, tag


def bar(share: float, colour: str = PALETTE[0]) -> Markup:
    """A horizontal bar for a share in [0, 1].

    >>> bar(0.25, "red")
    '<div class="bar"><i style="width:25.0%;background:red"></i></div>'
    """
    fill = tag("i", style=f"width:{100 * min(max(share, 0), 1):.1f}%;background:{colour}")
    return tag("div", fill, class_="bar")


def badge(name: str, colour: str) -> Markup:
    """A small coloured label.

    >>> badge("vqa", "red")
    '<span class="badge" style="background:red">vqa</span>'
    """
    return tag("span", name, class_="badge", style=f"background:{colour}")


def tokens(pieces: Sequence[tuple[str, bool]], titles: Sequence[str] = ()) -> Markup:
    """Tokens in a row; those that count in a loss are coloured, the others grey.

    Args:
        pieces: (text of the token, whether its loss mask is True).
        titles: what a pointer over a token shows; they belong to the last tokens.

    >>> tokens([("put", False)])
    '<div class="tokens"><span class="tok mono lossless">put</span></div>'
    """
    spans: list[Markup] = []
    hue = 0
    hints = [None] * (len(pieces) - len(titles)) + list(titles)
    for (piece, counted), hint in zip(pieces, hints, strict=True):
        if counted:
            hue = (hue + 47) % 360
            style = f"background:hsl({hue} 70% 50% / .22)"
            spans.append(tag("span", piece, class_="tok mono", style=style, title=hint))
        else:
            spans.append(tag("span", piece, class_="tok mono lossless", title=hint))
    return tag("div", *spans, class_="tokens")
