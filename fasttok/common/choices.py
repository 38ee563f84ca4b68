"""The words that options of a tokenizer take: each closed set is defined here, once.

Importing them imports nothing else, so that a command line can be parsed, and its help printed, without numpy.
"""

from typing import Literal

Mode = Literal["native", "published"]
"""native: lossless over its range; published: the published code's files, byte for byte."""

FitMode = Literal["native", "published", "fixed"]
"""What is fitted: a vocabulary of either mode; fixed: control points of splines, always as many tokens and nothing learned."""

TransformName = Literal["dct", "auto", "basis", "rotation", "both"]
"""What turns chunks into coefficients: FAST's DCT; what needs fewest tokens on held-out chunks; or a transform that is learned: a
basis over time, a rotation of the dims at each frequency of the DCT, or both."""

NormMode = Literal["quantile", "mean_std", "min_max", "none"]
"""Which statistics map raw units to about [-1, 1]."""

Constants = Literal["zero", "low"]
"""What dims that never move become: zero, or -1 as in openpi and lerobot."""

Gripper = Literal["keep", "binarize", "omit"]
"""How gripper dims are tokenised."""

Embodiments = Literal["check", "apart", "together"]
"""Recordings of one robot: one embodiment if they fit together, one for each dataset, or one whatever their ranges are."""

OnRange = Literal["clamp", "raise"]
"""What `encode` does with coefficients outside the tokenizer's range."""
