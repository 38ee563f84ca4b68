"""`fasttok decode`: turns files of FAST ids into files of action chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from fasttok.common.console import log, track
from fasttok.common.flags import OPTIONAL
from fasttok.common.given_paths import check_tokenizer
from fasttok.common.maybe import Maybe
from fasttok.common.output_file import check_output_file
from fasttok.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray

    from fasttok.storage.ids_origin import IdsOrigin
    from fasttok.tokenizer import ActionTokenizer

OnErrorInFiles = Literal["raise", "mask", "pad"]  # without "hold", which needs an action to repeat


@dataclass(frozen=True)
class Decode:
    """Turns FAST ids into action chunks, in files of any size or in a pipe.

    Example: fasttok decode TOKENIZER ids.npz --out actions.npz --embodiment planar

    Files of `fasttok encode` say what made their ids. If it was another tokenizer, embodiment or chunk shape, `decode` refuses
    them. Files of other programs and of fasttok 0.1.0 do not say it. Then `decode` assumes that this tokenizer made the ids, and
    prints a note.
    """

    tokenizer: Annotated[Positional[Path], arg(metavar="TOKENIZER")]
    """Tokenizer folder."""
    data: Annotated[Positional[str], arg(metavar="DATA")]
    """File with ids, as `fasttok encode` writes it: .npz, .parquet or .jsonl, or - for JSON lines on stdin."""
    out: str
    """File to write: .npz, .parquet or .jsonl, or - for JSON lines on stdout.
    It contains `actions`, and `ok`, which is false for rows that are no chunk. JSON lines also contain `error`."""
    horizon: Maybe[int] = None
    """Length of a chunk in steps. By default as the file says, or else as the tokenizer says."""
    action_dim: Maybe[int] = None
    """Number of action dims. By default as the file says, or else as the tokenizer says."""
    embodiment: Maybe[str] = None
    """Embodiment (robot and action space) whose statistics turn decoded actions into raw units.
    Needed only if the tokenizer contains several; `fasttok info TOKENIZER` lists them."""
    state_key: Annotated[str, OPTIONAL] = ""
    """For a tokenizer with relative dims: name of the column with the state. `encode` writes it as `reference`.
    By default the first of these that the file has: `reference`, `state`, its name in the fit, `observation.state`."""
    on_error: OnErrorInFiles = "raise"
    """What to do with ids that do not decode to exactly one chunk.
    `raise`: stop with an error.
    `mask`: write NaN.
    `pad`: write what can be read; missing high frequencies become 0, surplus values are dropped."""
    partial: bool = False
    """Accept rows that end early. Use it for a model whose tokens were cut to save time.
    Low frequencies come first, so the motion as a whole is there and details are missing.
    Ids that cannot begin a chunk are still errors."""
    overwrite: bool = False
    """Replace the --out file if it exists."""

    def run(self) -> None:
        """Writes the actions."""
        for flag, number in (("--horizon", self.horizon), ("--action-dim", self.action_dim)):
            if number is not None and number < 1:
                raise InputError(f"{flag} is {number}, expected at least 1")
        check_tokenizer(self.tokenizer)  # before the slow imports
        import numpy as np

        from fasttok.cli.states_beside import beside
        from fasttok.storage.streams import RowWriter, kind_of
        from fasttok.tokenizer import ActionTokenizer

        kind_of(self.out)
        check_output_file(self.out, [self.data], overwrite=self.overwrite)
        tok = ActionTokenizer.load(self.tokenizer)
        name = tok.embodiment(self.embodiment)
        done = failed = 0
        columns: dict[str, DTypeLike] = {"actions": np.float64, "ok": bool, "error": "U1"}
        with (
            beside(tok, self.data, self.embodiment, self.state_key) as (path, states),
            RowWriter(self.out, columns, {"actions": self._shape(tok, name)}) as writer,
        ):
            for horizon, dim, rows in self._batches(tok, name, path):
                reference = None if states is None else states.take(len(rows))
                policy: OnErrorInFiles = "mask" if self.on_error == "raise" else self.on_error
                out = tok.decode(
                    rows,
                    horizon=horizon,
                    action_dim=dim,
                    embodiment=name,
                    on_error=policy,
                    reference=reference,
                    partial=self.partial,
                )
                if self.on_error == "raise" and not out.ok.all():
                    row = int(np.argmin(out.ok))
                    raise InputError(
                        f"{self.data}: row {done + row} ({horizon} steps x {dim} dims): {out.errors[row]}; --on-error has other "
                        "policies" + (", and --partial takes rows that end early" if not self.partial else "")
                    )
                done, failed = done + len(rows), failed + int((~out.ok).sum())
                writer.write(actions=out.actions, ok=out.ok, error=out.errors)
            if states is not None:
                states.end()
        log(f"{done:,} chunks, {failed:,} failed -> {self.out}")

    def _batches(
        self, tok: "ActionTokenizer", name: str | None, path: str
    ) -> Iterator[tuple[int, int, list["NDArray[np.int64]"]]]:
        """Yields (horizon, dims, rows of ids) of each batch.

        Raises:
            InputError: the ids were made by another tokenizer, embodiment or chunk shape, or horizon and dims are not known.
        """
        from fasttok.storage.ids_origin import Decoder
        from fasttok.storage.streams import kind_of, read_encoded

        decoder = Decoder(self.tokenizer, tok.fingerprint, name, self.horizon, self.action_dim)
        done, assumed = 0, False
        for origin, rows in track(read_encoded(path), "decoding", unit="batches"):
            if origin is not None:
                decoder.check(origin, self.data if kind_of(self.data) == "npz" else f"{self.data}: row {done}")
            elif not assumed:
                assumed = True
                log(
                    f"note: {self.data} does not say which tokenizer made its ids (row {done} is the first such row); they are "
                    f"taken for ids of {self.tokenizer} ({tok.fingerprint})"
                )
            horizon, dim = self._shape(tok, name, origin)
            if not horizon or not dim:
                raise InputError(
                    "neither the ids nor this tokenizer say a horizon and dims; pass --horizon and --action-dim"
                )
            yield horizon, dim, rows
            done += len(rows)

    def _shape(self, tok: "ActionTokenizer", name: str | None, origin: "IdsOrigin | None" = None) -> tuple[int, int]:
        """Returns (horizon, dims), as the user says, or else what made the ids, or else the tokenizer; 0 if none of them does."""
        own = tok.embodiments.get(name) if name is not None else None
        horizon = self.horizon or (origin and origin.horizon) or (own and own.horizon)
        dim = self.action_dim or (origin and origin.action_dim) or (own and own.action_dim)
        return horizon or 0, dim or 0
