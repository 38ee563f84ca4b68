"""fasttok fit | eval | encode | decode | inspect | info"""

import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
import tyro
from numpy.typing import NDArray
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand

from fasttok._version import DISTRIBUTION, __version__
from fasttok.actions.dataset import ChunkConfig, Dataset, embodiment_name
from fasttok.actions.embodiment import Gripper
from fasttok.actions.normalize import Mode as NormMode
from fasttok.codec.bpe import Mode
from fasttok.common import console
from fasttok.common.console import emit_json, log, table, track, write_text
from fasttok.episodes import Episode, Episodes, open_episodes
from fasttok.errors import InputError
from fasttok.evaluation.metrics import Metrics, error_rows
from fasttok.evaluation.pages import Measured, eval_page, inspect_page
from fasttok.evaluation.rate_distortion import MEASURED, Point, Spectrum, samples, scale_for, sweep
from fasttok.fitting import card
from fasttok.fitting.fit import FitConfig, FitReport, fit_tokenizer, measure_group, report_rows
from fasttok.storage.streams import Writer, read_chunks, read_ids
from fasttok.tokenizer import ActionTokenizer, OnRange

OnErrorInFiles = Literal["raise", "mask", "pad"]  # "hold" needs an action


@dataclass(frozen=True)
class Fit:
    """Fits a tokenizer on action data and reports how good it is on held-out episodes.

    Example: fasttok fit INDEX --out TOKENIZER --seconds 1.0

    DATA is an INDEX of `fasttok-pipelines index`, an RLDS version folder, a LeRobot folder (v2, v3), or npz, parquet or HDF5
    files (robomimic, ALOHA); local paths or fsspec URLs. Memory does not grow with it.
    """

    data: Positional[tuple[str, ...]]
    """INDEX, RLDS or LeRobot folders, npz, parquet or HDF5 files or folders."""
    out: Path
    """Folder of the tokenizer."""
    split: str = "train"
    """Split to fit on."""
    horizon: int | None = None
    """Steps of a chunk; by default --seconds times the control frequency."""
    seconds: float = 1.0
    """Length of a chunk in seconds."""
    control_hz: float | None = None
    """Control frequency of data that do not say theirs."""
    vocab_size: int = 1024
    """Number of ids."""
    scale: float = 10.0
    """Factor before rounding: coarse at 1, fine at 100."""
    normalize: NormMode = "quantile"
    """Statistics that map raw units to about [-1, 1]."""
    mode: Mode = "native"
    """native: lossless over its range; published: the published code's files, byte for byte."""
    gripper: Gripper = "keep"
    """Gripper dims: keep them as any other, binarize (two values only), or omit (not tokenised)."""
    relative: bool = False
    """Tokenise absolute dims relative to the proprio at the chunk's first step."""
    gain: tuple[float, ...] = ()
    """Per dim, factor on --scale: 2 halves that dim's rounding error. Default 1 for all."""
    action_key: str = "action"
    """Step feature that holds the actions."""
    episode_share: float = 1.0
    """Share of the episodes to read, chosen by their place in the files."""
    max_chunks: int = 200_000
    """Most chunks per embodiment to learn from, evenly spread."""
    overwrite: bool = False
    """Replace a tokenizer in OUT."""
    dry_run: bool = False
    """Fit and report, write nothing."""
    json: bool = False
    """Print the report as JSON on stdout."""

    def run(self) -> None:
        """Fits, prints the report, saves."""
        if self.out.is_dir() and any(self.out.iterdir()) and not (self.overwrite or self.dry_run):
            raise InputError(f"{self.out} exists and is not empty; pass --overwrite, or another --out")
        config = FitConfig(**{field.name: getattr(self, field.name) for field in fields(FitConfig)})
        tok, report = fit_tokenizer(read(self.data, self.split), config)
        print_report(tok, report, self.json)
        if self.dry_run:
            log("dry run: nothing written")
            return
        tok.save(self.out, card=card.write(tok, report, config, self.data), overwrite=self.overwrite)
        log(f"saved {self.out} (fingerprint {tok.fingerprint}); next: fasttok eval {self.out} DATA --html eval.html")


@dataclass(frozen=True)
class Eval:
    """Measures a tokenizer: the paper's table (naive tokens, FAST tokens, ratio), error per dimension, rate against distortion.

    Example: fasttok eval TOKENIZER INDEX --html eval.html

    Episodes that a fit on the same data would hold out are measured.
    """

    tokenizer: Positional[Path]
    """Tokenizer folder."""
    data: Positional[tuple[str, ...]]
    """As for `fasttok fit`."""
    split: str = "train"
    """Split to measure on."""
    horizon: int | None = None
    """Steps of a chunk; by default the tokenizer's own."""
    action_key: str = "action"
    """Step feature that holds the actions."""
    max_chunks: int = 20_000
    """Most chunks per embodiment."""
    target_error: float | None = None
    """Find the scale whose rounding error, root mean square in normalised units, is at most this."""
    sweep: bool = False
    """Fit other scales and vocabulary sizes too (native fits; always done for --html)."""
    html: Path | None = None
    """Page to write, with plots."""
    json: bool = False
    """Print JSON on stdout."""

    def run(self) -> None:
        """Prints the tables, writes the page."""
        tok = ActionTokenizer.load(self.tokenizer)
        with dataset_for(tok, self.data, self.split, self.horizon, self.action_key) as data:
            measured, rows = {}, []
            held_out = samples(data, "held_out", MEASURED)
            for name, group in data.groups.items():
                metrics = measure_group(tok, group, tok.held_name(name), self.max_chunks)
                spectrum = Spectrum.of(tok, held_out[name], name)
                measured[name] = Measured(metrics, *spectrum.by_frequency(tok.scale))
                what = group.embodiment
                row = {"embodiment": name, "dims": what.action_dim, "Hz": what.control_hz, "horizon": what.horizon}
                rows.append(row | {"chunks": metrics.chunks} | metrics.row())
            points: list[Point] = []
            if self.sweep or self.html:
                points = list(track(sweep(tok, data, held_out), "fitting other scales and sizes", unit="points"))
            found = None if self.target_error is None else scale_for(tok, held_out, self.target_error)
        note = "" if found is None else (
            f"Scale {found:.3g} has an error of at most {self.target_error:g}: fasttok fit DATA --scale {found:.3g} --out OUT"
        )  # fmt: skip
        if self.html is not None:
            write_text(self.html, eval_page(tok, self.tokenizer.name, rows, measured, points, note))
            log(f"wrote {self.html}")
        if self.json:
            results = {name: m.metrics.to_json() for name, m in measured.items()}
            report: dict[str, Any] = {
                "tokenizer": str(self.tokenizer),
                "fingerprint": tok.fingerprint,
                "embodiments": results,
            }
            emit_json(report | {"sweep": [vars(p) for p in points], "scale_for_target": found})
            return
        table("tokens per chunk, held-out episodes", list(rows[0]), [list(row.values()) for row in rows])
        print_errors({name: m.metrics for name, m in measured.items()})
        if points:
            columns = ["embodiment", "scale", "vocabulary", "tokens a chunk", "rms error (normalised)"]
            table("rate against distortion", columns, [list(vars(p).values()) for p in points])
        if note:
            log(note)


@dataclass(frozen=True)
class Encode:
    """Action chunks to FAST ids, a batch at a time: files of any size.

    Example: fasttok encode TOKENIZER chunks.npz --out ids.npz

    npz holds `actions` (n, T, D) and gets `ids`, all rows joined, and `lengths` (n,). Parquet (.parquet) and JSON lines
    (.jsonl, or - for stdin and stdout) hold a chunk a row, `actions`, T lists of D numbers, and get `ids`, a list a row.
    """

    tokenizer: Positional[Path]
    """Tokenizer folder."""
    data: Positional[str]
    """.npz, .parquet, .jsonl or -, in raw units."""
    out: str
    """.npz, .parquet, .jsonl or -."""
    embodiment: str | None = None
    """Whose statistics to use, where the tokenizer holds several."""
    on_range: OnRange = "clamp"
    """What to do with coefficients outside the tokenizer's range: clamp (and count) or raise."""

    def run(self) -> None:
        """Writes the ids."""
        tok = ActionTokenizer.load(self.tokenizer)
        chunks = tokens = clamped = 0
        with Writer(self.out, {"ids": np.int32, "lengths": np.int64}) as writer:
            for batch in track(read_chunks(self.data), "encoding", unit="batches"):
                if self.on_range == "raise":
                    ids = tok.encode(batch, self.embodiment, "raise")
                else:
                    report = tok.encode_report(batch, self.embodiment)
                    ids, clamped = report.ids, clamped + int(report.clamped.sum())
                lengths = [len(row) for row in ids]
                chunks, tokens = chunks + len(ids), tokens + sum(lengths)
                writer.write(ids=ids, lengths=lengths)
        said = f", {clamped:,} coefficients clamped" if clamped else ""
        log(f"{chunks:,} chunks, {tokens / max(1, chunks):.1f} tokens each{said} -> {self.out}")


@dataclass(frozen=True)
class Decode:
    """FAST ids to action chunks, a batch at a time: files of any size.

    Example: fasttok decode TOKENIZER ids.npz --horizon 16 --action-dim 7 --out actions.npz
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
    """Whose statistics to use, where the tokenizer holds several."""
    on_error: OnErrorInFiles = "raise"
    """What to do with ids that are no chunk: raise, mask (NaN), pad."""

    def run(self) -> None:
        """Writes the actions."""
        tok = ActionTokenizer.load(self.tokenizer)
        name = tok.embodiment(self.embodiment)
        own = tok.embodiments.get(name) if name is not None else None
        horizon = self.horizon or (own.horizon if own else None)
        dim = self.action_dim or (own.action_dim if own else None)
        if horizon is None or dim is None:
            raise InputError("this tokenizer does not hold a horizon and dims; pass --horizon and --action-dim")
        done = failed = 0
        with Writer(self.out, {"actions": np.float64, "ok": bool, "error": "U1"}) as writer:
            for rows in track(read_ids(self.data), "decoding", unit="batches"):
                out = tok.decode(rows, horizon=horizon, action_dim=dim, embodiment=name, on_error=self.on_error)
                done, failed = done + len(rows), failed + int((~out.ok).sum())
                writer.write(actions=out.actions, ok=out.ok, error=out.errors)
        log(f"{done:,} chunks, {failed:,} failed -> {self.out}")


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
    html: Path | None = None
    """Page to write: curves, coefficients, tokens in colour."""

    def run(self) -> None:
        """Prints the tables, or writes the page."""
        tok = ActionTokenizer.load(self.tokenizer)
        shown: list[tuple[str, str | None, NDArray]] = []
        with dataset_for(tok, self.data, self.split, self.horizon, self.action_key) as data:
            for name, group in data.groups.items():
                if group.embodiment.relative:
                    raise InputError(f"{name}: chunks with relative dims cannot be inspected yet")
                some, _ = group.sample("held_out", self.chunks)
                shown += [(f"{name}, held-out chunk {i}", tok.held_name(name), c) for i, c in enumerate(some)]
        if self.html is not None:
            write_text(self.html, inspect_page(tok, self.tokenizer.name, shown))
            log(f"wrote {self.html}")
            return
        for title, held, chunk in shown:
            show_chunk(tok, held, chunk, title)


@dataclass(frozen=True)
class Info:
    """Versions for a bug report, and what a tokenizer folder holds.

    Example: fasttok info TOKENIZER
    """

    tokenizer: Positional[tuple[Path, ...]] = ()
    """Tokenizer folder, optional."""
    json: bool = False
    """Print JSON on stdout."""

    def run(self) -> None:
        """Prints versions and tokenizers."""
        found: dict[str, Any] = {
            DISTRIBUTION: __version__,
            "python": sys.version.split()[0],
            "machine": platform.platform(),
        }
        for package in ("numpy", "scipy", "numba", "tokenizers", "pyarrow", "apache-beam", "tensorflow", "jax"):
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                found[package] = "not installed"
        for folder in self.tokenizer:
            tok = ActionTokenizer.load(folder)
            found[str(folder)] = (
                f"{tok.mode}, {tok.vocab_size} ids, scale {tok.scale:g}, coefficients {tok.min_token}..{tok.max_token}, "
                f"embodiments: {', '.join(tok.embodiments) or 'none'}, fingerprint {tok.fingerprint}"
            )
        if warning := foreign_package():
            log(f"warning: {warning}")
        if self.json:
            emit_json(found)
        else:
            table("", ["what", "value"], [[k, v] for k, v in found.items()])


def foreign_package() -> str | None:
    """What is wrong if another package named `fasttok` is installed: both write `fasttok/__init__.py`, and the last one wins."""
    try:
        other = distribution("fasttok")
    except PackageNotFoundError:
        return None
    if any(point.name == "fasttok" for point in other.entry_points):  # an install of ours, from before it was renamed
        return (
            f"an old install of this project, named fasttok {other.version}, is still there; run: pip uninstall fasttok"
        )
    return (
        f"fasttok {other.version} is installed, which is another project with the same import name; run: "
        f"pip uninstall fasttok, then: pip install --force-reinstall --no-deps {DISTRIBUTION}"
    )


def read(paths: tuple[str, ...], split: str) -> Any:
    """Episodes of all paths, with progress; bad records are reported, not dropped silently.

    Raises:
        InputError: no path, or nothing readable in one.
    """
    if not paths:
        raise InputError("no data: give an INDEX, an RLDS directory, npz or parquet")
    for source in [open_episodes(path, split) for path in paths]:
        yield from track(source, f"reading {source.name}", source.count, "episodes")
        _report_bad(source)


def _report_bad(source: Episodes) -> None:
    if source.bad:
        counts = ", ".join(f"{n} {reason}" for reason, n in source.bad.items())
        log(f"{source.name}: {sum(source.bad.values())} records left out ({counts}); the first: {source.first_bad}")


def dataset_for(
    tok: ActionTokenizer, paths: tuple[str, ...], split: str, horizon: int | None, action_key: str
) -> Dataset:
    """The data's actions, grouped and cut as the tokenizer's embodiments are.

    Raises:
        InputError: the data's dims are not the tokenizer's, or no horizon is known.
    """
    only = next(iter(tok.embodiments)) if len(tok.embodiments) == 1 else None

    def episodes() -> Iterator[Episode]:
        for episode in read(paths, split):
            name = embodiment_name(episode)
            if tok.embodiments and name not in tok.embodiments:
                if only is None:
                    tok.embodiment(name)
                episode.metadata["embodiment"] = only
            yield episode

    if not tok.embodiments and horizon is None:
        raise InputError("this tokenizer does not say its horizon; pass --horizon")
    return Dataset(episodes(), ChunkConfig(horizon, action_key=action_key), tok.embodiments)


def show_chunk(tok: ActionTokenizer, name: str | None, chunk: NDArray, title: str) -> None:
    """One chunk as text: ids with their coefficients, then raw and decoded actions."""
    ids = tok.encode(chunk, name)[0]
    values = tok.coefficients(chunk, name).reshape(-1)
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


def print_report(tok: ActionTokenizer, report: FitReport, as_json: bool) -> None:
    """The summary of a fit."""
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
            }
        )
        return
    rows = report_rows(tok, report)
    table(f"{tok.vocab_size} ids; measured on held-out episodes", list(rows[0]), [list(row.values()) for row in rows])
    print_errors(report.metrics)


def print_errors(metrics: Mapping[str, Metrics]) -> None:
    """The round trip's error per dim."""
    table("round-trip error in raw units", ["embodiment", "dim", "rms", "max"], error_rows(metrics))


Command = Annotated[
    Annotated[Fit, subcommand("fit")]
    | Annotated[Eval, subcommand("eval")]
    | Annotated[Encode, subcommand("encode")]
    | Annotated[Decode, subcommand("decode")]
    | Annotated[Inspect, subcommand("inspect")]
    | Annotated[Info, subcommand("info")],
    OmitArgPrefixes,
    OmitSubcommandPrefixes,
]
DESCRIPTION = """FAST action tokens: fit, use and judge a tokenizer for robot action chunks.

Example: fasttok fit INDEX --out TOKENIZER --seconds 1.0
"""


def execute(command: Any) -> None:
    """Runs a parsed command."""
    if not isinstance(command, Info):
        from fasttok.common import jit

        jit.announce(log)
    command.run()


def main(argv: list[str] | None = None) -> NoReturn:
    """The console script: parses and runs one command, and exits."""
    console.script("fasttok", _main, argv)


def _main(argv: list[str]) -> None:
    execute(tyro.cli(Command, prog="fasttok", description=DESCRIPTION, args=argv))


if __name__ == "__main__":
    main()
