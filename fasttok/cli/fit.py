"""`fasttok fit`: a tokenizer from action data, with a report on held-out episodes."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from fasttok.common.choices import Constants, Embodiments, FitMode, Gripper, NormMode, TransformName
from fasttok.common.console import emit_json, log, table, track
from fasttok.common.given_paths import check_data
from fasttok.common.next_command import beside, command

if TYPE_CHECKING:
    from fasttok.fitting.fit import FitReport
    from fasttok.tokenizer import ActionTokenizer


@dataclass(frozen=True)
class Fit:
    """Fits a tokenizer on action data and reports how good it is on held-out episodes.

    Example: fasttok fit INDEX --out TOKENIZER --seconds 1.0

    DATA is an INDEX of `fasttok-pipelines index`, an RLDS version folder, a LeRobot folder (v2, v3), or npz, npy, parquet or
    HDF5 files (docs/datasets.md has the layouts); local paths or fsspec URLs. Memory does not grow with it.
    """

    data: Annotated[Positional[tuple[str, ...]], arg(metavar="DATA [DATA ...]", help_behavior_hint="(required)")]
    """INDEX, RLDS or LeRobot folders, npz, npy, parquet or HDF5 files or folders."""
    out: Path
    """Folder of the tokenizer."""
    split: str = "train"
    """Split to fit on."""
    horizon: int | None = None
    """Steps per chunk; by default --seconds times the control frequency."""
    seconds: float = 1.0
    """Length of a chunk in seconds."""
    control_hz: float | None = None
    """Control frequency in Hz, for data that does not record one."""
    vocab_size: int = 1024
    """Number of ids."""
    scale: float = 10.0
    """Factor before rounding: coarse at 1, fine at 100."""
    normalize: NormMode = "quantile"
    """Statistics that map raw units to about [-1, 1]. Dims that they do not describe take others; the report names them."""
    constants: Constants = "zero"
    """What dims that never move become: `zero`, or `low` for -1, as in openpi and lerobot, so that tokens equal theirs."""
    mode: FitMode = "native"
    """native: lossless over its range; published: the published code's files, byte for byte; fixed: control points of splines, a
    token each, so that every chunk has the same number of tokens and any ids decode (for models that write all at once)."""
    transform: TransformName = "dct"
    """What turns chunks into coefficients. dct: as published, for every program that reads FAST. auto: what needs the fewest
    tokens at the same error on held-out chunks, the dct unless another saves 3 %. basis, rotation, both: one that is learned.
    Only fasttok decodes what is not dct."""
    points: int = 10
    """With --mode fixed: control points of each dim, so tokens per chunk are POINTS times dims."""
    degree: int = 3
    """With --mode fixed: degree of the splines: 0 for steps, 1 for lines, 3 for smooth curves."""
    gripper: Gripper = "keep"
    """How to tokenise gripper dimensions: `keep` like any other, `binarize` to open/closed, or `omit`."""
    relative: bool = False
    """Tokenise absolute dims relative to the state at the chunk's first step."""
    relative_to: tuple[str, ...] = ()
    """ACTION=STATE pairs of columns, such as 0=0, 0-5=7-12 or x=ee_x: only these dims are relative, each to that column of the
    state; arm:0=0 for embodiment `arm` only. By default as --relative: all absolute dims, paired by name or by number."""
    state_key: str = ""
    """Step feature that contains the state; by default `proprio`, as INDEX, LeRobot and ALOHA data has it."""
    gain: tuple[float, ...] = ()
    """Factor on --scale for each dim. Use it when some dims need more precision than others: with 2, a dim's rounding error is
    half as large, and it costs more tokens. Default: 1 for all."""
    action_key: tuple[str, ...] = ("action",)
    """Step feature that contains the actions; or several, whose columns stand side by side."""
    episode_share: float = 1.0
    """Share of the episodes to read, chosen by their place in the files."""
    embodiments: Embodiments = "check"
    """Data that names the same robot: `check` that it is one embodiment (frequency, dims, units), keep datasets `apart`, or put
    them `together` whatever their ranges are."""
    clip: bool = False
    """Cut values outside the range that maps to [-1, 1] (q01..q99 with `quantile`) to it, count them, and do so in `encode` too.
    For data with glitches, which otherwise end the fit."""
    skip_bad: bool = False
    """Leave out, count and name episodes with NaN or inf or without the action, and files that cannot be read. Otherwise the
    first ends the fit."""
    max_chunks: int = 200_000
    """Maximum number of chunks per embodiment to fit on, sampled evenly."""
    overwrite: bool = False
    """Replace a tokenizer in OUT."""
    dry_run: bool = False
    """Fit and report, write nothing."""
    json: bool = False
    """Print the report as JSON on stdout."""

    def run(self) -> None:
        """Fits, prints the report, saves."""
        from fasttok.actions.left_out import LeftOut
        from fasttok.cli.read_data import read
        from fasttok.common.output_folder import check_output
        from fasttok.fitting import card
        from fasttok.fitting.fit import FitConfig, fit_tokenizer
        from fasttok.storage.folder import TOKENIZER

        if not self.dry_run:
            check_output(self.out, TOKENIZER, overwrite=self.overwrite, reads=self.data)
        check_data(self.data)
        config = FitConfig(**{field.name: getattr(self, field.name) for field in fields(FitConfig)})
        left_out = LeftOut()
        tok, report = fit_tokenizer(
            read(self.data, self.split, self.skip_bad, left_out),
            config,
            track=lambda merges: track(merges, "learning merges", unit="merges"),
            left_out=left_out,
        )
        print_report(tok, report, self.json)
        if self.dry_run:
            log("dry run: nothing written")
            return
        tok.save(self.out, card=card.write(tok, report, config, self.data), overwrite=self.overwrite)
        log(f"saved {self.out} (fingerprint {tok.fingerprint}); next: {self.next_command()}")

    def next_command(self) -> str:
        """What to do with the tokenizer: build shards from an INDEX, or else measure it."""
        from fasttok.episodes.index_file import is_index

        if len(self.data) == 1 and is_index(self.data[0]) and not self.relative and not self.relative_to:
            shards = ("--out", beside(self.out, "shards"), "--samples", "20000")
            return command(
                "fasttok-pipelines", "build", "all", "--index", self.data[0], "--tokenizer", self.out, *shards
            )
        return command("fasttok", "eval", self.out, *self.data, "--html", beside(self.out, "eval.html"))


def print_report(tok: "ActionTokenizer", report: "FitReport", as_json: bool) -> None:
    """The summary of a fit."""
    from fasttok.cli.error_table import print_errors
    from fasttok.fitting.fit import exceptions, measured_on, relative_lines, relative_pairs, report_rows
    from fasttok.fitting.transform_lines import in_words, transform_lines

    if as_json:
        emit_json(
            {
                "vocab_size": tok.vocab_size,
                "min_token": tok.min_token,
                "max_token": tok.max_token,
                "fingerprint": tok.fingerprint,
                "embodiments": {
                    name: m.to_json() | {"episodes": report.episodes[name], "fit_chunks": report.chunks[name]}
                    for name, m in report.metrics.items()
                },
                "measured_on": measured_on(report.held_out),
                "not_normalized_as_asked": exceptions(tok),
                "relative": {name: pairs for name, e in tok.embodiments.items() if (pairs := relative_pairs(e))},
                "transforms": {name: in_words(one) for name, one in tok.transforms.items()},
                "transforms_tried": {name: [vars(one) for one in tried] for name, tried in tok.tried.items()},
                "left_out": report.left_out.to_json(),
                "clipped": {
                    name: {"values": c.values.tolist(), "of": c.total, "unit": c.unit}
                    for name, c in report.clipped.items()
                },
                "far_off": report.far,
            }
        )
        return
    rows = report_rows(tok, report)
    table(
        f"{tok.vocab_size} ids; measured on {measured_on(report.held_out)}",
        list(rows[0]),
        [list(row.values()) for row in rows],
    )
    print_errors(report.metrics)
    for line in exceptions(tok):
        log(f"not normalised as asked, since that would not describe it: {line}")
    for line in [*relative_lines(tok), *transform_lines(tok), *report.notes()]:
        log(line)
