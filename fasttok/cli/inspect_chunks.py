"""`fasttok inspect`: shows what each id of some chunks stands for."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from fasttok.common.console import log, table, write_text
from fasttok.common.flags import OPTIONAL
from fasttok.common.given_paths import check_data, check_tokenizer
from fasttok.common.maybe import Maybe
from fasttok.common.output_file import check_output_file
from fasttok.common.typed import typed_command
from fasttok.errors import InputError

if TYPE_CHECKING:
    from fasttok.evaluation.inspect_page import ShownChunk
    from fasttok.tokenizer import ActionTokenizer


@dataclass(frozen=True)
class Inspect:
    """Shows single chunks as tokens: what each id stands for, and the raw actions beside the decoded ones.

    Example: fasttok inspect TOKENIZER INDEX --chunks 2 --html chunks.html
    """

    tokenizer: Annotated[Positional[Path], arg(metavar="TOKENIZER")]
    """Tokenizer folder."""
    data: Annotated[Positional[tuple[str, ...]], arg(metavar="DATA [DATA ...]", help_behavior_hint="(required)")]
    """Action data, as for `fasttok fit`: an INDEX, RLDS or LeRobot folders, or npz, npy, Parquet or HDF5 files or folders."""
    split: str = "train"
    """Split of the data to read."""
    chunks: int = 2
    """Number of chunks to show for each embodiment (robot and action space)."""
    horizon: Maybe[int] = None
    """Length of a chunk in steps. By default the tokenizer's own."""
    action_key: tuple[str, ...] = ("action",)
    """Name of the step feature with the actions. The columns of several features are joined, in the order of the names."""
    state_key: Annotated[str, OPTIONAL] = ""
    """For a tokenizer with relative dims: name of the step feature with the robot's state. By default as in the fit."""
    skip_bad: bool = False
    """Leave out, count and name episodes that contain NaN or inf or lack the action, and files that cannot be read.
    Without this flag, the first one ends the command with an error."""
    html: Maybe[Path] = None
    """Write a page to this file instead of printing tables. It shows curves, coefficients, and tokens in colour."""
    overwrite: bool = False
    """Replace the --html page if it exists."""

    def run(self) -> None:
        """Prints the tables, or writes the page."""
        if self.chunks < 1:
            raise InputError(f"--chunks is {self.chunks}, expected at least 1")
        if self.html is not None:  # before the slow imports
            check_output_file(self.html, self.data, overwrite=self.overwrite, flag="--html")
        check_tokenizer(self.tokenizer, self.data)
        check_data(self.data)
        from fasttok.actions.dataset import ChunkConfig
        from fasttok.cli.read_data import dataset_for, named_like
        from fasttok.evaluation.inspect_page import ShownChunk, inspect_page
        from fasttok.tokenizer import ActionTokenizer

        tok = ActionTokenizer.load(self.tokenizer)
        shown: list[ShownChunk] = []
        config = ChunkConfig(self.horizon, action_key=self.action_key, state_key=self.state_key, skip_bad=self.skip_bad)
        with dataset_for(tok, self.data, self.split, config) as data:
            tok = named_like(data, tok)
            for robot, group in data.groups.items():
                chunks, references = group.sample("held_out", self.chunks)
                for i, chunk in enumerate(chunks):
                    reference = None if references is None else references[i]
                    title = f"{robot}, {'held-out ' * group.learned_apart}chunk {i}"
                    name, known = tok.embodiment_argument(robot), group.embodiment
                    shown.append(ShownChunk(title, name, chunk, reference, data.action_names(robot), known.control_hz))
        if self.html is not None:
            write_text(self.html, inspect_page(tok, self.tokenizer.name, shown, typed_command()))
            log(f"wrote {self.html}")
            return
        for one in shown:
            show_chunk(tok, one)


def show_chunk(tok: "ActionTokenizer", shown: "ShownChunk") -> None:
    """Prints one chunk: its ids with their coefficients, then its raw and decoded actions."""
    chunk, (ids, values, back) = shown.chunk, shown.through(tok)
    rows = []
    for place, (token, (start, stop)) in enumerate(zip(ids.tolist(), tok.bpe.spans(ids), strict=True)):
        rows.append([place, token, f"{start}..{stop - 1}", " ".join(map(str, values.reshape(-1)[start:stop]))])
    table(f"{shown.title}: {len(ids)} tokens for {chunk.size} values", ["place", "id", "coefficients", "values"], rows)
    if relative := shown.relative(tok):
        log(f"relative to the state: {', '.join(f'dim {d} to {value:.4g}' for d, value in relative.items())}")
    columns = [f"{what}[{d}]" for d in range(chunk.shape[1]) for what in ("raw", "decoded")]
    pairs = [
        [t, *[v for d in range(chunk.shape[1]) for v in (float(chunk[t, d]), float(back[t, d]))]]
        for t in range(len(chunk))
    ]
    table("", ["step", *columns], pairs)
