"""Refuses to load, and says why, when transformers' AutoProcessor opens a tokenizer folder that only fasttok decodes.

A folder with a transform other than the DCT has a copy of this file. It imports only `typing`, so it works in any environment.
"""

from typing import Any, NoReturn

WHY = (
    "only fasttok encodes and decodes with this tokenizer: its transform is not FAST's DCT, so other programs would decode wrong "
    "actions from its ids. Use fasttok.ActionTokenizer.load(FOLDER), or fit one that other programs read: "
    "fasttok fit --transform dct"
)


class OnlyFasttok:
    """Refuses to load."""

    @classmethod
    def from_pretrained(cls, folder: object = "", *_: Any, **__: Any) -> NoReturn:
        """Raises an error that says why, when AutoProcessor loads the folder.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{folder}: {WHY}" if folder else WHY)

    @classmethod
    def register_for_auto_class(cls, *_: Any) -> None:
        """Does nothing. AutoProcessor calls this before `from_pretrained`."""
