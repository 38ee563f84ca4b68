"""Draws small marks within text: bars for shares, badges, and tokens as chips."""

from collections.abc import Sequence

from fasttok.common.html.colours import COMPUTED
from fasttok.common.html.markup import Markup, tag


def bar(share: float, colour: str = COMPUTED) -> Markup:
    """Returns a horizontal bar for a share in [0, 1].

    >>> bar(0.25, "red")
    '<div class="bar"><i style="width:25.0%;background:red"></i></div>'
    """
    fill = tag("i", style=f"width:{100 * min(max(share, 0), 1):.1f}%;background:{colour}")
    return tag("div", fill, class_="bar")


def badge(name: str, colour: str) -> Markup:
    """Returns a small coloured label.

    >>> badge("vqa", "red")
    '<span class="badge" style="background:red">vqa</span>'
    """
    return tag("span", name, class_="badge", style=f"background:{colour}")


def tokens(pieces: Sequence[tuple[str, bool]], meanings: Sequence[str] = ()) -> Markup:
    """Returns tokens in a row. Tokens that count in a loss are coloured, the others are grey.

    There are three ways to read the meanings: under the pointer, beside the token that the arrow keys choose
    (scripts/tokens.js), and in a list that opens without JavaScript.

    Args:
        pieces: (text of the token, whether its loss mask is True).
        meanings: what the last tokens stand for, one text per token; the tokens before them have none.

    >>> tokens([("put", False)])
    '<div class="tokens"><span class="tok mono lossless">put</span></div>'
    """
    spans: list[Markup] = []
    first = len(pieces) - len(meanings)
    counted_before = 0
    for place, (piece, counted) in enumerate(pieces):
        counted_before += counted
        style = f"background:{token_hue(counted_before)}" if counted else None
        kind = "tok mono" if counted else "tok mono lossless"
        meaning = meanings[place - first] if place >= first and meanings else None
        marked = None if meaning is None else place - first
        spans.append(tag("span", piece, class_=kind, style=style, title=meaning, data_token=marked))
    row = tag("div", *spans, class_="tokens")
    if not meanings:
        return row
    told = [tag("li", tag("b", piece, class_="mono"), f": {meaning}")
            for (piece, _), meaning in zip(pieces[first:], meanings, strict=True)]  # fmt: skip
    return Markup(
        row + tag("details", tag("summary", "What each token stands for"), tag("ol", *told), class_="meanings")
    )


def token_hue(place: int) -> str:
    """Returns a background colour for a token that differs from its neighbours' colours.

    >>> token_hue(1)
    'hsl(47 70% 50% / .22)'
    """
    return f"hsl({47 * place % 360} 70% 50% / .22)"
