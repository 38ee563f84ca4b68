"""Location tokens, `<loc0000>` to `<loc1023>`: PaliGemma's words for places, as shares of the height and width of a whole image.

A text with them is right only for an image that shows exactly what it showed when the text was written. So such an image gets no
black edges, is not cropped and not rotated. PaliGemma itself stretches every image to a square (google-research/big_vision,
`big_vision/configs/proj/paligemma/transfers/*.py`: `decode|resize({res})`).
"""

import re

LOCATION = re.compile(r"<loc\d{4}>")
ASKS_FOR_PLACES = ("detect ", "segment ")  # how PaliGemma's prompts begin whose answers have location tokens


def has_locations(prompt: str, target: str = "") -> bool:
    """Whether a prompt or its answer names places in the image, or the prompt asks for them in PaliGemma's words.

    >>> has_locations("detect cat ; dog"), has_locations("where is the cat?", "<loc0000><loc0256><loc0512><loc1023>")
    (True, True)
    >>> has_locations("where is the cat?"), has_locations("what is at <loc0012><loc0700>?")
    (False, True)
    """
    asks = prompt.lstrip().lower().startswith(ASKS_FOR_PLACES)
    return asks or any(LOCATION.search(text) for text in (prompt, target))
