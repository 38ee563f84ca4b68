"""The colours of every page, and what each means.

Every colour is dark enough for white words on it (4.5:1) and light enough to be seen as a line on a dark card (3:1), so that one
set serves light and dark pages (tests/fasttok/test_html.py computes both).
"""

PALETTE = ("#2f6fde", "#c2541a", "#1d8560", "#8f55c9", "#c93a5b", "#6b7a12", "#0f7f9e", "#8b6a4f")
"""Colours of lines and bars that a legend explains, such as runs or arms. A colour by itself means nothing."""

RECORDED = "var(--ink)"  # what the data says
COMPUTED = PALETTE[0]  # what a tokenizer or a policy computed; also the line of a chart that has only one
COMPUTED_NEXT = PALETTE[3]  # every second computed piece, if neighbouring pieces touch
GOOD = PALETTE[2]  # success
WARNING = PALETTE[1]
BAD = PALETTE[4]  # failures, errors, and values outside their range
NEUTRAL = "#64748b"  # notes, and everything without a kind
KIND_COLOURS = {"robot": PALETTE[6], "vqa": PALETTE[3], "caption": PALETTE[7]}  # kinds of rows, the same on every page
