"""Bounding boxes as PaliGemma's text: `<locYYYY><locXXXX><locYYYY><locXXXX> name ; ...`, and back.

A coordinate in [0, 1] of the image's height or width becomes one of 1024 location tokens, `<loc0000>`..`<loc1023>`, in the order
ymin, xmin, ymax, xmax. The rule is big_vision's (google-research/big_vision at 0127fb6):

- to a bin: times 1023, rounded half to even in float32, then clipped to 0..1023
  (`big_vision/pp/proj/paligemma/segmentation.py`, `get_refcoco_mask2str`);
- back: divided by 1023; a box is valid only if ymax > ymin and xmax > xmin, in bins
  (`big_vision/evaluators/proj/paligemma/transfers/segmentation.py`, `Evaluator.run`).

So bin 0 and bin 1023 stand for the edges themselves and are half as wide as the others. (Scripts that take floor(x * 1024) or
truncate x * 1023 are off by up to one bin.) `detect a ; b` as the prompt, and ` ; ` between boxes, is the syntax of PaliGemma's
prompt documentation (ai.google.dev/gemma/docs/paligemma/prompt-system-instructions); big_vision itself has no detection task.
"""

import re
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 1024
BOX = re.compile(r"\s*<loc(\d{4})><loc(\d{4})><loc(\d{4})><loc(\d{4})>\s*([^<>;]*?)\s*")
NOT_IN_NAMES = re.compile(r"[<>;\x00-\x1f]")


def to_bins(boxes: ArrayLike) -> NDArray[np.int32]:
    """Converts (n, 4) coordinates in [0, 1] to bins 0..1023; coordinates outside are clipped.

    >>> to_bins([[0.0, 0.25, 0.5, 1.0]]).tolist()
    [[0, 256, 512, 1023]]
    """
    scaled = np.asarray(boxes, np.float32).reshape(-1, 4) * np.float32(BINS - 1)
    bins: NDArray[np.int32] = np.clip(np.rint(scaled), 0, BINS - 1).astype(np.int32)
    return bins


def is_box(bins: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Returns (n,) bool: whether (n, 4) bins enclose an area: ymax > ymin and xmax > xmin."""
    return (bins[:, 2] > bins[:, 0]) & (bins[:, 3] > bins[:, 1])


def is_name(name: object) -> TypeGuard[str]:
    """Whether a class name can be in a box text: it is not empty, and has none of the characters that separate boxes."""
    return isinstance(name, str) and bool(name.strip()) and not NOT_IN_NAMES.search(name)


def to_text(boxes: ArrayLike, names: Sequence[str]) -> str:
    """Writes boxes, (n, 4) as ymin, xmin, ymax, xmax in [0, 1], as a target text.

    Raises:
        ValueError: there are not as many names as boxes, or `is_name` refuses a name.

    >>> to_text([[0.0, 0.25, 0.5, 1.0], [0, 0, 1, 1]], ["cat", "traffic light"])
    '<loc0000><loc0256><loc0512><loc1023> cat ; <loc0000><loc0000><loc1023><loc1023> traffic light'
    """
    for name in names:
        if not is_name(name):
            raise ValueError(f"{name!r} cannot be the name of a box")
    rows = zip(to_bins(boxes).tolist(), names, strict=True)
    return " ; ".join("".join(f"<loc{b:04d}>" for b in bins) + f" {name.strip()}" for bins, name in rows)


def from_text(text: str) -> tuple[NDArray[np.float32], list[str], int]:
    """Reads boxes from a target, or from a model's answer.

    Returns:
        (n, 4) ymin, xmin, ymax, xmax in [0, 1]; their n names, "" for a box without one; and how many pieces of the text are no
        valid box (another syntax, a bin past 1023, or nothing enclosed) and are left out.

    >>> boxes, names, bad = from_text("<loc0000><loc0000><loc1023><loc1023> cat ; <loc0009> dog")
    >>> boxes.tolist(), names, bad
    ([[0.0, 0.0, 1.0, 1.0]], ['cat'], 1)
    """
    rows, names, bad = [], [], 0
    for piece in text.split(";"):
        found = BOX.fullmatch(piece)
        bins = np.array([[int(digits) for digits in found.groups()[:4]]] if found else [[0] * 4], np.int32)
        if found is None or bins.max() >= BINS or not is_box(bins)[0]:
            bad += bool(piece.strip())
            continue
        rows.append(bins[0])
        names.append(found[5])
    boxes = np.array(rows, np.float32).reshape(-1, 4) / np.float32(BINS - 1)
    return boxes, names, bad
