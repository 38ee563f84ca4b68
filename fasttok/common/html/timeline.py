"""Shows curves and pictures at one moment, which scripts/cursor.js moves. Without JavaScript all pictures are side by side."""

from collections.abc import Sequence

from fasttok.common.html.markup import Markup, tag


def timeline(*parts: object) -> Markup:
    """Returns the element around parts that show the same moment.

    The parts are a `cursor`, pictures in `moments`, and curves inside an element of the class `timed`.
    """
    return tag("div", *parts, class_="timeline")


def cursor(last: int, per_second: float | None, label: str) -> Markup:
    """Returns the slider that moves the moment. Without JavaScript it is not shown.

    Args:
        last: number of the last step; the first is 0.
        per_second: steps per second; None if that is not known.
        label: text that a screen reader reads out.

    >>> 'max="9" value="0" aria-label="time"' in cursor(9, 10.0, "time")
    True
    """
    slider = tag("input", type="range", min="0", max=last, value="0", aria_label=label).removesuffix("</input>")
    rate = "" if per_second is None else f"{per_second:.6g}"
    return tag(
        "div",
        tag("button", "Play", type="button"),
        Markup(slider),
        tag("output", ""),
        class_="cursor",
        data_per_second=rate,
    )


def moments(pictures: Sequence[tuple[int, Markup, object]], *, pixels: bool = False) -> Markup:
    """Returns the pictures of a camera, in order.

    Args:
        pictures: (step, picture, text below it) of each.
        pixels: whether the pictures are small and are enlarged without smoothing.

    >>> moments([(3, Markup("<img>"), "0.3 s")])
    '<div class="moments"><figure data-step="3"><img><figcaption>0.3 s</figcaption></figure></div>'
    """
    figures = [tag("figure", picture, tag("figcaption", said), data_step=step) for step, picture, said in pictures]
    return tag("div", *figures, class_="moments pixels" if pixels else "moments")
