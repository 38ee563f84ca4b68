"""`fasttok inspect`: what each id of some chunks stands for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tyro.conf import Positional

from fasttok.cli.read_data import dataset_for
from fasttok.common.console import log, table, write_text
from fasttok.common.output_file import check_output_file
from fasttok.errors import InputError
from fasttok.evaluation.inspect_page import inspect_page
from fasttok.tokenizer import ActionTokenizer


@dataclass(frozen=True)
class Inspect:
    """Shows chunks as tokens: what each id stands for, and raw against decoded actions.

    Example: fasttok inspect TOKENIZER INDEX --chunks 2 --html chunks.html
    """

    tokenizer: Positional[Path]
    """Tokenizer folder."""
    data: Positional[tuple[str, ...]]
    """As for `fasttok fit`."""
    split: str = "train"
    """Split to read."""
    chunks: int = 2
    """Chunks per embodiment."""
    horizon: int | None = None
    """Steps of a chunk; by default the tokenizer's own."""
    action_key: str = "action"
    """Step feature that holds the actions."""
    skip_bad: bool = False
    """Leave out, count and name episodes with NaN or inf or without the action, and files that cannot be read."""
    html: Path | None = None
    """Page to write: curves, coefficients, tokens in colour."""
    overwrite: bool = False
    """Replace the page --html."""

    def run(self) -> None:
        """Prints the tables, or writes the page."""
        if self.chunks < 1:
            raise InputError(f"--chunks is {self.chunks}, expected at least 1")
        if self.html is not None:
            check_output_file(self.html, self.data, overwrite=self.overwrite, flag="--html")
        tok = ActionTokenizer.load(self.tokenizer)
        shown: list[tuple[str, str | None, NDArray[Any]]] = []
        with dataset_for(tok, self.data, self.split, self.horizon, self.action_key, skip_bad=self.skip_bad) as data:
            for robot, group in data.groups.items():
                if group.embodiment.relative:
                    raise InputError(f"{robot}: chunks with relative dims cannot be inspected yet")
                some, _ = group.sample("held_out", self.chunks)
                shown += [
                    (f"{robot}, held-out chunk {i}", tok.embodiment_argument(robot), c) for i, c in enumerate(some)
                ]
        if self.html is not None:
            write_text(self.html, inspect_page(tok, self.tokenizer.name, shown))
            log(f"wrote {self.html}")
            return
        for title, name, chunk in shown:
            show_chunk(tok, name, chunk, title)


def show_chunk(tok: ActionTokenizer, name: str | None, chunk: NDArray[Any], title: str) -> None:
    """One chunk as text: ids with their coefficients, then raw and decoded actions."""
    ids = tok.encode(chunk, embodiment=name)[0]
    values = tok.coefficients(chunk, embodiment=name).reshape(-1)
    rows = []
    for place, (token, (start, stop)) in enumerate(zip(ids.tolist(), tok.bpe.spans(ids), strict=True)):
        rows.append([place, token, f"{start}..{stop - 1}", " ".join(map(str, values[start:stop]))])
    table(f"{title}: {len(ids)} tokens for {chunk.size} values", ["place", "id", "coefficients", "values"], rows)
    back = tok.decode([ids], horizon=chunk.shape[0], action_dim=chunk.shape[1], embodiment=name).actions[0]
    columns = [f"{what}[{d}]" for d in range(chunk.shape[1]) for what in ("raw", "decoded")]
    pairs = [
        [t, *[v for d in range(chunk.shape[1]) for v in (float(chunk[t, d]), float(back[t, d]))]]
        for t in range(len(chunk))
    ]
    table("", ["step", *columns], pairs)
