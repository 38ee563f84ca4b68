"""Defines the words that the options of a tokenizer accept, each closed set once.

This module imports nothing else, so that a command line can be parsed, and its help printed, without numpy.
"""

from typing import Literal

Mode = Literal["native", "published"]
"""native: lossless over the tokenizer's range; published: the same files as the published code, byte for byte."""

FitMode = Literal["native", "published", "fixed"]
"""What a fit makes. native, published: a vocabulary of that mode; fixed: control points of splines, with nothing learned and the
same number of tokens for every chunk."""

TransformName = Literal["dct", "auto", "basis", "rotation", "both"]
"""What turns chunks into coefficients. dct: FAST's DCT; auto: the transform that needs the fewest tokens on held-out chunks. The
others are learned. basis: a basis over time; rotation: a rotation of the dims at each frequency of the DCT; both: these two."""

NormMode = Literal["quantile", "mean_std", "min_max", "none"]
"""Which statistics map raw units to about [-1, 1]."""

Constants = Literal["zero", "low"]
"""The normalised value of dims that never move. zero: 0; low: -1, as in openpi and lerobot."""

Gripper = Literal["keep", "binarize", "omit"]
"""How gripper dims are tokenised."""

Embodiments = Literal["check", "apart", "together"]
"""How recordings of one robot become embodiments. check: one embodiment, but only if the recordings fit together; apart: one for
each dataset; together: one, whatever the ranges of its dims are."""

OnRange = Literal["clamp", "raise"]
"""What `encode` does with coefficients outside the tokenizer's range."""
