"""`fasttok eval`: measures how good a tokenizer is on given data."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from fasttok.common.console import emit_json, log, track, write_text
from fasttok.common.flags import OPTIONAL
from fasttok.common.given_paths import check_data, check_tokenizer
from fasttok.common.maybe import Maybe
from fasttok.common.next_command import beside
from fasttok.common.output_file import check_output_file
from fasttok.common.typed import typed_command
from fasttok.errors import InputError

if TYPE_CHECKING:
    from fasttok.actions.dataset import Dataset
    from fasttok.tokenizer import ActionTokenizer


@dataclass(frozen=True)
class Eval:
    """Measures how many tokens a tokenizer needs and how large its errors are.

    Example: fasttok eval TOKENIZER INDEX --html eval.html

    It prints FAST tokens per chunk against naive binning (the table of the FAST paper), the errors, and the entropy floor: the
    fewest tokens that an ideal coder would need. With --html or --sweep, it compares other scales and vocabulary sizes, too.

    It measures on the episodes that `fit` would hold out of this data. If the fit has not seen this data, use --all.
    """

    tokenizer: Annotated[Positional[Path], arg(metavar="TOKENIZER")]
    """Tokenizer folder."""
    data: Annotated[Positional[tuple[str, ...]], arg(metavar="DATA [DATA ...]", help_behavior_hint="(required)")]
    """Action data, as for `fasttok fit`: an INDEX, RLDS or LeRobot folders, or npz, npy, Parquet or HDF5 files or folders."""
    split: str = "train"
    """Split of the data to measure on."""
    horizon: Maybe[int] = None
    """Length of a chunk in steps. By default the tokenizer's own."""
    action_key: tuple[str, ...] = ("action",)
    """Name of the step feature with the actions. The columns of several features are joined, in the order of the names."""
    state_key: Annotated[str, OPTIONAL] = ""
    """For a tokenizer with relative dims: name of the step feature with the robot's state. By default as in the fit."""
    skip_bad: bool = False
    """Leave out, count and name episodes that contain NaN or inf or lack the action, and files that cannot be read.
    Without this flag, the first one ends the command with an error."""
    all: bool = False
    """Measure on every episode, not only on those that a fit of this data would hold out.
    Use it when the fit has not seen this data."""
    max_chunks: int = 20_000
    """Maximum number of chunks to measure on, for each embodiment (robot and action space)."""
    target_error: Maybe[float] = None
    """Also find the smallest scale whose rounding error is at most this, and print the command for a native fit with it.
    The error is the root mean square in normalised units, such as 0.01."""
    sweep: bool = False
    """Also fit native tokenizers with other scales and vocabulary sizes, and show their tokens and errors.
    With --html this happens anyway. With --all it cannot, because no episodes are left to fit on."""
    html: Maybe[Path] = None
    """Write a page with plots to this file."""
    overwrite: bool = False
    """Replace the --html page if it exists."""
    json: bool = False
    """Print JSON on stdout."""

    def run(self) -> None:
        """Prints the tables, and writes the page."""
        if self.max_chunks < 1:
            raise InputError(f"--max-chunks is {self.max_chunks}, expected at least 1")
        if self.html is not None:  # before the slow imports
            check_output_file(self.html, self.data, overwrite=self.overwrite, flag="--html")
        check_tokenizer(self.tokenizer, self.data)
        check_data(self.data)
        from fasttok.actions.dataset import ChunkConfig
        from fasttok.cli.eval_tables import print_eval
        from fasttok.cli.read_data import dataset_for, named_like
        from fasttok.evaluation.eval_page import EvalFacts, RateCurves, eval_page
        from fasttok.evaluation.measured import Measured
        from fasttok.evaluation.metrics import Cell
        from fasttok.evaluation.rate_distortion import MEASURED, own_points, samples, scale_for, sweep
        from fasttok.fitting.fit import far_lines
        from fasttok.tokenizer import ActionTokenizer

        if self.all and self.sweep:
            raise InputError("--all measures on every episode, so none is left for the fits of --sweep; leave one out")
        tok = ActionTokenizer.load(self.tokenizer)
        fingerprint = tok.fingerprint
        config = ChunkConfig(self.horizon, action_key=self.action_key, state_key=self.state_key, skip_bad=self.skip_bad)
        with dataset_for(tok, self.data, self.split, config, self.all) as data:
            tok = named_like(data, tok)
            far = far_lines(data, tok.stats, self.max_chunks, "held_out")
            for line in far:
                log(f"far off: {line}")
            what_is_measured = _measured_on(data)
            names = {name: data.action_names(name) for name in data.groups}
            measured: dict[str, Measured] = {}
            rows: list[dict[str, Cell]] = []
            held_out = samples(data, "held_out", MEASURED)
            for name, group in track(data.groups.items(), "measuring", unit="embodiments"):
                measured[name] = Measured.of(tok, group, name, self.max_chunks, held_out[name])
                metrics = measured[name].metrics
                what = group.embodiment
                row: dict[str, Cell] = {
                    "embodiment": name,
                    "dims": what.action_dim,
                    "Hz": what.control_hz,
                    "horizon": what.horizon,
                    "episodes": data.total[name],
                    "measured": data.held_out[name] or data.total[name],
                    "chunks": metrics.chunks,
                }
                rows.append(row | metrics.row())
            curves = RateCurves()
            if self.sweep or (self.html and not self.all):
                fits = list(track(sweep(tok, data, held_out), "fitting other scales and sizes", unit="points"))
                curves = RateCurves(fits, own_points(tok, held_out))
            scale = None if self.target_error is None else scale_for(tok, held_out, self.target_error)
            note = "" if scale is None else self._fit_with(tok, data, scale)
        if self.html is not None:
            about = EvalFacts(note, what_is_measured, names, typed_command(), fingerprint)
            write_text(self.html, eval_page(tok, self.tokenizer.name, rows, measured, curves, about))
            log(f"wrote {self.html}")
        if self.json:
            emit_json(
                {
                    "tokenizer": str(self.tokenizer),
                    "fingerprint": fingerprint,
                    "measured_on": what_is_measured,
                    "embodiments": {name: m.to_json() for name, m in measured.items()},
                    "sweep": [vars(point) for point in curves.fits],
                    "this_tokenizer": [vars(point) for point in curves.own],
                    "scale_for_target": scale,
                }
            )
            return
        print_eval(rows, measured, curves, note, what_is_measured)

    def _fit_with(self, tok: "ActionTokenizer", data: "Dataset", scale: float) -> str:
        """Returns a sentence that says the command of a fit with another scale."""
        from fasttok.codec.corpus import CodeRangeError
        from fasttok.fitting.fit import FitConfig
        from fasttok.fitting.fit_again import config_like, fit_command

        scale = round_up(scale)
        said = f"In a native fit with the DCT, scale {scale:g} has a rounding error of at most {self.target_error:g}"
        read = FitConfig(scale=scale, action_key=self.action_key, state_key=self.state_key, skip_bad=self.skip_bad)
        try:
            config = config_like(tok, data, read)
        except CodeRangeError as error:
            return f"{said}, but no vocabulary has its codes: {error}"
        return f"{said}: {fit_command(config, self.data, self.split, beside(self.tokenizer, 'tokenizer'))}"


def round_up(scale: float) -> float:
    """Rounds a scale up to three digits, so that its error is not larger.

    >>> round_up(14.112), round_up(0.01), round_up(123400.0)
    (14.2, 0.01, 124000.0)
    """
    digit = Decimal(1).scaleb(Decimal(repr(scale)).adjusted() - 2)
    return float(Decimal(repr(scale)).quantize(digit, ROUND_CEILING))


def _measured_on(data: "Dataset") -> str:
    """Says in words which episodes were measured. Whether the tokenizer's fit saw this data is not known here."""
    total = sum(data.total.values())
    count = sum(data.held_out[name] or data.total[name] for name in data.groups)
    if count == total:
        return "all episodes" if total > 1 else "the only episode"
    return f"{count} of {total} episodes: those that a fit of this data would hold out (--all: every one)"
