"""Records what made the ids of a file, since another tokenizer of the same shape would decode some of them to other actions.

npz has this record once, as JSON in the text `fasttok`. Parquet and JSON lines have it in each row, as the struct or object
`fasttok`, so that it stays true when rows are filtered, shuffled, split or joined.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from fasttok.common import json_files
from fasttok.errors import InputError

KEY = "fasttok"
FORMAT_VERSION = 1
STRUCT = pa.struct([
    ("format_version", pa.int64()), ("tokenizer", pa.string()), ("embodiment", pa.string()), ("horizon", pa.int64()),
    ("action_dim", pa.int64()),
])  # fmt: skip


@dataclass(frozen=True)
class IdsOrigin:
    """What made a row of ids.

    Attributes:
        format_version: version of this record's format.
        tokenizer: `ActionTokenizer.fingerprint`, hex.
        embodiment: embodiment whose statistics normalised the chunk; None if the tokenizer has none.
        horizon: steps of the chunk; None in an npz whose chunks differ.
        action_dim: dims of the chunk; None in an npz whose chunks differ.
    """

    format_version: int
    tokenizer: str
    embodiment: str | None
    horizon: int | None
    action_dim: int | None

    def joined(self, other: "IdsOrigin") -> "IdsOrigin":
        """Returns the origin of two batches at once: a horizon or action_dim that differs becomes None.

        >>> IdsOrigin(1, "ab", None, 10, 7).joined(IdsOrigin(1, "ab", None, 20, 7))
        IdsOrigin(format_version=1, tokenizer='ab', embodiment=None, horizon=None, action_dim=7)
        """
        return replace(
            self,
            horizon=self.horizon if self.horizon == other.horizon else None,
            action_dim=self.action_dim if self.action_dim == other.action_dim else None,
        )


def parse(raw: object, where: str) -> IdsOrigin | None:
    """Reads the record of a file; None if it has none, as files have that other programs or fasttok 0.1.0 wrote.

    Raises:
        InputError: the record is not what `fasttok encode` writes, or a newer fasttok wrote it.
    """
    if raw is None:
        return None
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: {KEY} is not JSON: {error}") from None
    return json_files.decode(IdsOrigin, raw, f"{where}: {KEY}", FORMAT_VERSION)


@dataclass(frozen=True)
class Decoder:
    """What should decode ids.

    Attributes:
        folder: folder of the tokenizer.
        tokenizer: fingerprint of the tokenizer.
        embodiment: embodiment whose statistics it would use.
        horizon: steps that the user asked for; None for those of the ids, or the tokenizer's own.
        action_dim: dims that the user asked for; None as for the horizon.
    """

    folder: Path
    tokenizer: str
    embodiment: str | None
    horizon: int | None
    action_dim: int | None

    def check(self, origin: IdsOrigin, where: str) -> None:
        """Refuses ids that something else made.

        Args:
            origin: what made them.
            where: file, and row if rows can differ.

        Raises:
            InputError: another tokenizer made the ids, or they have another embodiment or shape.
        """
        if origin.tokenizer != self.tokenizer:
            raise InputError(
                f"{where}: the ids were made by tokenizer {origin.tokenizer}, but {self.folder} is {self.tokenizer}, to which "
                "they mean other actions. Decode them with the tokenizer that made them (`fasttok info FOLDER` prints its "
                f"fingerprint), or encode the actions again with {self.folder}"
            )
        for flag, made, asked in (
            ("--embodiment", origin.embodiment, self.embodiment),
            ("--horizon", origin.horizon, self.horizon),
            ("--action-dim", origin.action_dim, self.action_dim),
        ):
            if made is not None and asked is not None and made != asked:
                raise InputError(f"{where}: the ids were made with {flag} {made}, not {asked}; pass {flag} {made}")
