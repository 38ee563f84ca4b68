"""`fasttok decode`: files of FAST ids to files of action chunks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike
from tyro.conf import Positional

from fasttok.cli.states_beside import beside
from fasttok.common.console import log, track
from fasttok.common.output_file import check_output_file
from fasttok.errors import InputError
from fasttok.storage.streams import RowWriter, kind_of, read_ids
from fasttok.tokenizer import ActionTokenizer

OnErrorInFiles = Literal["raise", "mask", "pad"]  # "hold" needs an action


@dataclass(frozen=True)
class Decode:
    """FAST ids to action chunks, a batch at a time: files of any size.

    Example: fasttok decode TOKENIZER ids.npz --out actions.npz --embodiment planar
    """

    tokenizer: Positional[Path]
    """Tokenizer folder."""
    data: Positional[str]
    """.npz, .parquet, .jsonl or -, as `fasttok encode` writes it."""
    out: str
    """.npz, .parquet, .jsonl or -: `actions` and `ok`; JSON lines have `error` too."""
    horizon: int | None = None
    """Steps of a chunk; by default the tokenizer's own."""
    action_dim: int | None = None
    """Dims; by default the tokenizer's own."""
    embodiment: str | None = None
    """Whose statistics to use; needed only if the tokenizer holds several (`fasttok info TOKENIZER` lists them)."""
    state_key: str = ""
    """For a tokenizer with relative dims, the column of the state; by default `reference`, which `encode` writes, or `state`."""
    on_error: OnErrorInFiles = "raise"
    """What to do with ids that are no chunk: raise, mask (NaN), pad."""
    overwrite: bool = False
    """Replace the file --out."""

    def run(self) -> None:
        """Writes the actions."""
        kind_of(self.out)
        check_output_file(self.out, [self.data], overwrite=self.overwrite)
        tok = ActionTokenizer.load(self.tokenizer)
        name = tok.embodiment(self.embodiment)
        own = tok.embodiments.get(name) if name is not None else None
        horizon = self.horizon or (own.horizon if own else None)
        dim = self.action_dim or (own.action_dim if own else None)
        if horizon is None or dim is None:
            raise InputError("this tokenizer does not hold a horizon and dims; pass --horizon and --action-dim")
        done = failed = 0
        columns: dict[str, DTypeLike] = {"actions": np.float64, "ok": bool, "error": "U1"}
        with (
            beside(tok, self.data, self.embodiment, self.state_key) as (path, states),
            RowWriter(self.out, columns) as writer,
        ):
            for rows in track(read_ids(path), "decoding", unit="batches"):
                reference = None if states is None else states.take(len(rows))
                out = tok.decode(
                    rows, horizon=horizon, action_dim=dim, embodiment=name, on_error=self.on_error, reference=reference
                )
                done, failed = done + len(rows), failed + int((~out.ok).sum())
                writer.write(actions=out.actions, ok=out.ok, error=out.errors)
            if states is not None:
                states.end()
        log(f"{done:,} chunks, {failed:,} failed -> {self.out}")
