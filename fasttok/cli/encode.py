"""`fasttok encode`: turns files of action chunks into files of FAST ids."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from fasttok.common.choices import OnRange
from fasttok.common.console import log, track
from fasttok.common.flags import OPTIONAL
from fasttok.common.given_paths import check_tokenizer
from fasttok.common.maybe import Maybe
from fasttok.common.output_file import check_output_file
from fasttok.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


@dataclass(frozen=True)
class Encode:
    """Turns action chunks into FAST ids, in files of any size or in a pipe.

    Example: fasttok encode TOKENIZER chunks.npz --out ids.npz --embodiment planar

    The input contains the chunks as `actions`. In .npz that is an array of shape (n, T, D): n chunks, T steps, D dims.
    In .parquet and .jsonl files, and on stdin (-), each row has one chunk: T lists of D numbers.

    The output contains the tokens as `ids`. In .npz these are the ids of all chunks, one after the other, and `lengths` says how
    many each chunk has. In .parquet and .jsonl files, and on stdout (-), each row has one list. The output also stores what made
    the ids, as `fasttok`, so that `decode` can refuse ids of another tokenizer or embodiment.

    A tokenizer with relative dims also needs the robot's state at each chunk's first step. Give it as `state`, with one row of
    numbers per chunk, or as `reference`, with the state's value for each dim of the action. The output then contains `reference`
    too, because `decode` needs it.
    """

    tokenizer: Annotated[Positional[Path], arg(metavar="TOKENIZER")]
    """Tokenizer folder."""
    data: Annotated[Positional[str], arg(metavar="DATA")]
    """File with action chunks in raw units: .npz, .parquet or .jsonl, or - for JSON lines on stdin."""
    out: str
    """File to write: .npz, .parquet or .jsonl, or - for JSON lines on stdout."""
    embodiment: Maybe[str] = None
    """Embodiment (robot and action space) whose statistics normalise the actions.
    Needed only if the tokenizer contains several; `fasttok info TOKENIZER` lists them."""
    state_key: Annotated[str, OPTIONAL] = ""
    """For a tokenizer with relative dims: name of the column with the state.
    By default the first of these that the file has: `reference`, `state`, its name in the fit, `observation.state`."""
    on_range: OnRange = "clamp"
    """What to do with coefficients outside the tokenizer's range.
    `clamp`: move them to the nearest end of the range, and count them.
    `raise`: stop with an error."""
    overwrite: bool = False
    """Replace the --out file if it exists."""

    def run(self) -> None:
        """Writes the ids."""
        check_tokenizer(self.tokenizer)  # before the slow imports
        import numpy as np

        from fasttok.cli.states_beside import beside
        from fasttok.storage.ids_origin import FORMAT_VERSION, IdsOrigin
        from fasttok.storage.streams import RowWriter, kind_of, read_chunks
        from fasttok.tokenizer import ActionTokenizer

        kind_of(self.out)
        check_output_file(self.out, [self.data], overwrite=self.overwrite)
        tok = ActionTokenizer.load(self.tokenizer)
        chunks = tokens = clamped = 0
        cut = 0.0
        columns: dict[str, DTypeLike] = {"ids": np.int32, "lengths": np.int64}
        with beside(tok, self.data, self.embodiment, self.state_key) as (path, states):
            columns |= {} if states is None else {"reference": np.float64}
            row_shapes = {} if states is None else {"reference": (states.dim,)}
            with RowWriter(self.out, columns, row_shapes) as writer:
                for batch in track(read_chunks(path), "encoding", unit="batches"):
                    reference = None if states is None else states.take(len(batch))
                    try:
                        if self.on_range == "raise":
                            ids = tok.encode(
                                batch, embodiment=self.embodiment, on_range="raise", reference=reference, first=chunks
                            )
                        else:
                            report = tok.encode_report(
                                batch, embodiment=self.embodiment, reference=reference, first=chunks
                            )
                            ids, clamped = report.ids, clamped + int(report.clamped.sum())
                    except InputError as error:
                        raise InputError(f"{self.data}: {error}") from None
                    channels = tok.channels(self.embodiment)
                    if channels.stats is not None and channels.stats.clip:
                        cut += channels.stats.clipped_share(batch - channels.offset(reference, batch)) * batch.size
                    lengths = [len(row) for row in ids]
                    chunks, tokens = chunks + len(ids), tokens + sum(lengths)
                    origin = IdsOrigin(
                        FORMAT_VERSION, tok.fingerprint, tok.embodiment(self.embodiment), batch.shape[1], batch.shape[2]
                    )
                    beside_ids = {} if reference is None else {"reference": reference}
                    writer.write(origin, ids=ids, lengths=lengths, **beside_ids)
                if states is not None:
                    states.end()
        said = f", {clamped:,} coefficients clamped" if clamped else ""
        said += f", {round(cut):,} values clipped to the range of their dims" if cut else ""
        log(f"{chunks:,} chunks, {tokens / max(1, chunks):.1f} tokens each{said} -> {self.out}")
