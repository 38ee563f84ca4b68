"""Shows films on a page without a script: the frames are side by side in one picture, and CSS shows one at a time.

Unlike an animated WebP, such a film stops when the reader asks for it. On paper, and for readers who want no motion, it becomes
still frames. The films of a row begin together.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fasttok.common.html import Markup, tag
from train.judging.film_recorder import Film

PER_SECOND = 10.0  # frames per second
REST = 1.2  # seconds for which the last frame stays
STILLS = 4  # frames that are shown if nothing may move
QUALITY = 82  # of lossy WebP

CSS = """
.moving, .stills i { background-image:var(--film); background-repeat:no-repeat; background-size:auto 100%;
  -webkit-print-color-adjust:exact; print-color-adjust:exact; border-radius:6px }
.moving { width:100%; background-position:100% 0; animation-iteration-count:infinite }
.stills { display:none; grid-template-columns:1fr 1fr; gap:3px } .stills i { display:block }
.pixels { image-rendering:pixelated }
.scene:hover .moving, .scene:focus .moving, .scene:focus-within .moving,
body:has(#pause:checked) .moving { animation-play-state:paused }
.scene:focus-visible { outline:2px solid var(--accent); outline-offset:2px }
@media (prefers-reduced-motion:reduce) { .moving { display:none } .stills { display:grid } }
@media print { .moving { display:none } .stills { display:grid } }
"""
"""CSS for pages with films; a `.scene` contains films that stop together, and `#pause` is a checkbox that stops all."""


@dataclass(frozen=True, eq=False)
class Sprite:
    """A film as one picture.

    Attributes:
        data: WebP, frames side by side.
        frames: number of frames.
        width: width of a frame in pixels.
        height: height of a frame in pixels.
        of: number of frames of the longest film beside it; this film rests on its last frame until the longest one ends.
    """

    data: bytes
    frames: int
    width: int
    height: int
    of: int


def sprite(film: Film, times: NDArray[np.int64]) -> Sprite:
    """Makes one picture of a film, with its frame at each of the given steps, up to the first step at which it has ended.

    Args:
        film: film with at least one frame.
        times: (n,) steps, ascending.
    """
    ended = int(np.searchsorted(times, film.steps[-1]))
    shown = np.minimum(times[: min(ended + 1, len(times))], film.steps[-1])
    chosen = np.maximum(np.searchsorted(film.steps, shown, side="right") - 1, 0)
    strip = np.concatenate(list(film.frames[chosen]), axis=1)
    height, width = film.frames.shape[1:3]
    return Sprite(smallest_webp(strip), len(chosen), width, height, len(times))


def smallest_webp(pixels: NDArray[np.uint8]) -> bytes:
    """Encodes pixels (h, w, 3) as WebP: lossless if that is smaller (as for drawn scenes), else lossy."""
    picture = Image.fromarray(pixels)

    def written(lossless: bool) -> bytes:
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", lossless=lossless, quality=QUALITY, method=4)
        return buffer.getvalue()

    return min(written(True), written(False), key=len)


def moving(drawn: Sprite, label: str) -> Markup:
    """Returns the moving picture, and the still frames that replace it if nothing may move.

    Args:
        drawn: the film.
        label: what the film shows, for readers who do not see it.
    """
    shape = f"aspect-ratio:{drawn.width}/{drawn.height}"
    seconds = drawn.of / PER_SECOND + REST
    runs = f"animation-name:{_name(drawn)};animation-duration:{seconds:.2f}s" if drawn.frames > 1 else None
    style = shape if runs is None else f"{shape};{runs}"
    places = sorted({round(i * (drawn.frames - 1) / (STILLS - 1)) for i in range(STILLS)})
    stills = [tag("i", style=f"{shape};background-position:{_place(i, drawn.frames)} 0") for i in places]
    pixels = " pixels" if drawn.height < 100 else ""
    data = base64.b64encode(drawn.data).decode()
    return tag(
        "div",
        tag("div", class_=f"moving{pixels}", style=style),
        tag("div", *stills, class_=f"stills{pixels}"),
        role="img",
        aria_label=label,
        style=f"--film:url(data:image/webp;base64,{data})",
    )


def keyframes(drawn: Sprite) -> str:
    """Returns the CSS rule that moves a film; films with the same `frames` and `of` have the same rule.

    >>> keyframes(Sprite(b"", 3, 8, 8, 3)).split("{")[0]
    '@keyframes film-3-of-3'
    """
    if drawn.frames < 2:
        return ""
    ends = 100 * drawn.frames / PER_SECOND / (drawn.of / PER_SECOND + REST)
    steps = f"animation-timing-function:steps({drawn.frames},jump-none)"
    return (
        f"@keyframes {_name(drawn)}{{0%{{background-position:0 0;{steps}}}"
        f"{ends:.3f}%,100%{{background-position:100% 0}}}}\n"
    )


def _name(drawn: Sprite) -> str:
    return f"film-{drawn.frames}-of-{drawn.of}"


def _place(frame: int, frames: int) -> str:
    return f"{100 * frame / max(frames - 1, 1):.3f}%"
