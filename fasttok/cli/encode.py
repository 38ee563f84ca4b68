"""`fasttok encode`: files of action chunks to files of FAST ids."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from fasttok.common.choices import OnRange
from fasttok.common.console import log, track
from fasttok.common.given_paths import check_tokenizer
from fasttok.common.output_file import check_output_file

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


@dataclass(frozen=True)
class Encode:
    """Action chunks to FAST ids, a batch at a time: files of any size.

    Example: fasttok encode TOKENIZER chunks.npz --out ids.npz --embodiment planar

    An .npz input must contain `actions` of shape (n, T, D); the output contains `ids` (all rows concatenated) and `lengths`
    (n,). Parquet (.parquet) and JSON lines (.jsonl, or - for stdin and stdout) contain one chunk per row, `actions`, T lists
    of D numbers; the output contains one list per row, `ids`. The output also says what made the ids, in `fasttok`: `decode`
    refuses those of another tokenizer or embodiment.

    A tokenizer with relative dims also needs the state at each chunk's first step: `state`, (n, S) or a list per row; or
    `reference`, (n, D), with the state in the dims of the action. The output has `reference` too, as `decode` needs it.
    """

    tokenizer: Annotated[Positional[Path], arg(metavar="TOKENIZER")]
    """Tokenizer folder."""
    data: Annotated[Positional[str], arg(metavar="DATA")]
    """.npz, .parquet, .jsonl or -, in raw units."""
    out: str
    """.npz, .parquet, .jsonl or -."""
    embodiment: str | None = None
    """Whose statistics to use; needed only if the tokenizer contains several (`fasttok info TOKENIZER` lists them)."""
    state_key: str = ""
    """For a tokenizer with relative dims, the column of the state; by default `reference`, `state`, or its name in the fit."""
    on_range: OnRange = "clamp"
    """What to do with coefficients outside the tokenizer's range: clamp (and count) or raise."""
    overwrite: bool = False
    """Replace the file --out."""

    def run(self) -> None:
        """Writes the ids."""
        check_tokenizer(self.tokenizer)  # before what is slow to import
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
            with RowWriter(self.out, columns) as writer:
                for batch in track(read_chunks(path), "encoding", unit="batches"):
                    reference = None if states is None else states.take(len(batch))
                    if self.on_range == "raise":
                        ids = tok.encode(batch, embodiment=self.embodiment, on_range="raise", reference=reference)
                    else:
                        report = tok.encode_report(batch, embodiment=self.embodiment, reference=reference)
                        ids, clamped = report.ids, clamped + int(report.clamped.sum())
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
