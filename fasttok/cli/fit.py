"""`fasttok fit`: fits a tokenizer on action data, and reports its errors on held-out episodes."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from fasttok.common.choices import Constants, Embodiments, FitMode, Gripper, NormMode, TransformName
from fasttok.common.console import emit_json, log, table, track
from fasttok.common.flags import OPTIONAL
from fasttok.common.given_paths import check_data
from fasttok.common.maybe import Maybe
from fasttok.common.next_command import beside, command

if TYPE_CHECKING:
    from fasttok.fitting.fit import FitReport
    from fasttok.tokenizer import ActionTokenizer


@dataclass(frozen=True)
class Fit:
    """Fits a tokenizer on action data and reports its tokens per chunk and its errors on held-out episodes.

    Example: fasttok fit INDEX --out TOKENIZER --seconds 1.0

    DATA is an INDEX (made by `fasttok-pipelines index`), an RLDS version folder, a LeRobot folder (v2 or v3), or npz, npy,
    Parquet or HDF5 files. Each can be a local path or an fsspec URL, and may be larger than memory. The layouts are in
    docs/fasttok.md and docs/datasets.md.
    """

    data: Annotated[Positional[tuple[str, ...]], arg(metavar="DATA [DATA ...]", help_behavior_hint="(required)")]
    """Action data: an INDEX, RLDS or LeRobot folders, or npz, npy, Parquet or HDF5 files or folders."""
    out: Path
    """Folder to write the tokenizer to."""
    split: str = "train"
    """Split of the data to fit on."""
    horizon: Maybe[int] = None
    """Length of a chunk in steps. By default it is --seconds times the control frequency, rounded."""
    seconds: float = 1.0
    """Length of a chunk in seconds. It has no effect if --horizon is given."""
    control_hz: Maybe[float] = None
    """Control frequency in Hz, for data that does not record one. The fit needs it to turn --seconds into steps."""
    vocab_size: int = 1024
    """Number of token ids.
    Use more if the fit says that the vocabulary is too small, as it can be for long chunks and a large --scale."""
    scale: float = 10.0
    """Factor on the coefficients before they are rounded: 1 is coarse and needs few tokens, 100 is fine and needs many.
    `fasttok eval --target-error` finds the scale for an error of your choice. --mode fixed does not use the scale."""
    normalize: NormMode = "quantile"
    """Which statistics map the actions from raw units to about [-1, 1].
    Dims that they cannot describe get others, and the report names these dims.
    `quantile`: the 1st and 99th percentiles become -1 and 1.
    `mean_std`: the mean becomes 0, and one standard deviation above it becomes 1.
    `min_max`: the smallest and largest values become -1 and 1.
    `none`: the actions stay as they are."""
    constants: Constants = "zero"
    """The normalised value of a dim that never moves.
    `zero`: 0.
    `low`: -1, as in openpi and lerobot. Use it if a policy will train there, so that its tokens are the same.
    With --normalize mean_std, both give 0."""
    mode: FitMode = "native"
    """Kind of tokenizer.
    `native`: encodes every rounded coefficient in its range, so that only rounding loses anything.
    `published`: writes the same files as the published FAST code, byte for byte.
    `fixed`: describes each dim by the control points of a spline, with one token per point.
    With `fixed`, every chunk has the same number of tokens, and any ids decode: for models that write all tokens at once."""
    transform: TransformName = "dct"
    """What turns chunks into coefficients. All but `dct` need --mode native, and only fasttok can decode their ids.
    `dct`: the discrete cosine transform, as published; every program that reads FAST can decode it.
    `auto`: the one that needs the fewest tokens on held-out chunks at the same error; `dct` unless another saves 3 %.
    `basis`: learned directions over time, of all dims together, in place of the cosines.
    `rotation`: the DCT, then learned directions over the dims at each frequency.
    `both`: `basis`, then `rotation`."""
    points: int = 10
    """With --mode fixed: number of control points per dim, but at most one per step. A chunk has POINTS times dims tokens."""
    degree: int = 3
    """With --mode fixed: degree of the splines. 0 gives steps, 1 gives straight lines, 3 gives smooth curves."""
    gripper: Gripper = "keep"
    """How gripper dims are tokenised. All but `keep` need data that says which dim is the gripper, such as an INDEX.
    `keep`: like any other dim.
    `binarize`: as one of two values, the ends of the dim's range.
    `omit`: not at all; they decode as NaN."""
    relative: bool = False
    """Tokenise each absolute dim as its difference from the robot's state at the chunk's first step.
    Dims and state columns are paired by name, or by number if there are as many columns as dims."""
    relative_to: Annotated[tuple[str, ...], OPTIONAL] = ()
    """Tokenise only these dims relative to the state: ACTION=STATE pairs of columns, such as 0=0, 0-5=7-12 or x=ee_x.
    The pair arm:0=0 is for the embodiment `arm` only.
    Use it instead of --relative if some dims should stay absolute, or if --relative cannot pair the columns."""
    state_key: Annotated[str, OPTIONAL] = ""
    """Name of the step feature with the robot's state. By default `proprio`, its name in INDEX, LeRobot and ALOHA data."""
    gain: Annotated[tuple[float, ...], OPTIONAL] = ()
    """Factor on --scale for each dim, 1 by default. Use it when some dims need more precision than others.
    With 2, a dim's rounding error is half as large, and it costs more tokens."""
    action_key: tuple[str, ...] = ("action",)
    """Name of the step feature with the actions. The columns of several features are joined, in the order of the names."""
    episode_share: float = 1.0
    """Share of the episodes to read, above 0 and at most 1. Use less than 1 for a quick fit on large data.
    An episode's place in the files decides whether it is read, so every run reads the same ones."""
    embodiments: Embodiments = "check"
    """What to do if several datasets name the same robot.
    `check`: make them one embodiment, and stop if their frequencies, dims or units differ.
    `apart`: make each dataset an embodiment with statistics of its own.
    `together`: make them one embodiment even if the names or ranges of their dims differ."""
    clip: bool = False
    """Cut values to the range that maps to [-1, 1], in the fit and later in `encode`, and count them.
    Use it when data has glitches, which can otherwise end the fit. It needs --normalize quantile or min_max."""
    skip_bad: bool = False
    """Leave out, count and name episodes that contain NaN or inf or lack the action, and files that cannot be read.
    Without this flag, the first one ends the fit with an error."""
    max_chunks: int = 200_000
    """Maximum number of chunks to fit on, for each embodiment (robot and action space).
    They are spread evenly over its training chunks."""
    overwrite: bool = False
    """Replace a tokenizer in OUT."""
    dry_run: bool = False
    """Fit and print the report, but write nothing."""
    json: bool = False
    """Print the report as JSON on stdout."""

    def run(self) -> None:
        """Fits the tokenizer, saves it and prints the report."""
        from fasttok.actions.left_out import LeftOut
        from fasttok.cli.read_data import read
        from fasttok.common.output_folder import check_output
        from fasttok.episodes.dataset_name import files_apart
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
        if not self.dry_run:  # before the report: `| head` closes the pipe, which ends the command
            tok.save(self.out, card=card.write(tok, report, config, self.data), overwrite=self.overwrite)
        print_report(tok, report, self.json)
        for folder, names in files_apart(self.data, tok.embodiments).items():
            log(
                f"note: each of the {len(names)} files of {folder} is a dataset, so {names[0]}, {names[1]} ... are embodiments "
                "with statistics of their own. If they are recordings of one robot, give the folder: "
                f"{command('fasttok', 'fit', folder)}"
            )
        if self.dry_run:
            log("dry run: nothing written")
            return
        log(f"saved {self.out} (fingerprint {tok.fingerprint}); next: {self.next_command()}")

    def next_command(self) -> str:
        """Returns the command to run next: build shards if the data is an INDEX, or else measure the tokenizer."""
        from fasttok.episodes.index_file import is_index

        if len(self.data) == 1 and is_index(self.data[0]) and not self.relative and not self.relative_to:
            shards = ("--out", beside(self.out, "shards"), "--samples", "20000")
            return command(
                "fasttok-pipelines", "build", "all", "--index", self.data[0], "--tokenizer", self.out, *shards
            )
        reads = [] if self.split == "train" else ["--split", self.split]
        reads += [] if self.action_key == ("action",) else ["--action-key", *self.action_key]
        reads += ["--skip-bad"] * self.skip_bad
        return command("fasttok", "eval", self.out, *self.data, *reads, "--html", beside(self.out, "eval.html"))


def print_report(tok: "ActionTokenizer", report: "FitReport", as_json: bool) -> None:
    """Prints the summary of a fit."""
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
