"""fasttok fit | eval | encode | decode | inspect | info"""

import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand

from fasttok import __version__, card
from fasttok.bpe import Mode
from fasttok.console import emit_json, log, run, table, track
from fasttok.episodes import Episodes, open_episodes
from fasttok.errors import InputError
from fasttok.fit import FitConfig, FitReport, action_of, collect, fit_tokenizer, report_rows
from fasttok.metrics import measure
from fasttok.normalize import Mode as NormMode
from fasttok.tokenizer import ActionTokenizer, OnError


@dataclass(frozen=True)
class Fit:
    """Fits a tokenizer on action data and reports how good it is on held-out episodes.

    Example: fasttok fit INDEX --out TOKENIZER --seconds 1.0

    DATA is an INDEX of `python -m pipelines index`, an RLDS version folder, or npz or parquet files.
    """

    data: Positional[tuple[str, ...]]
    """INDEX, RLDS directories, npz or parquet files or folders."""
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
    action_key: str = "action"
    """Step feature that holds the actions."""
    max_chunks: int = 200_000
    """Most chunks per embodiment to learn from."""
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
        config = FitConfig(
            self.horizon, self.seconds, self.vocab_size, self.scale, self.normalize, self.mode, self.control_hz,
            self.action_key, self.max_chunks,
        )  # fmt: skip
        tok, report = fit_tokenizer(read(self.data, self.split), config)
        print_report(tok, report, self.json)
        if self.dry_run:
            log("dry run: nothing written")
            return
        tok.save(self.out, card=card.write(tok, report, config, self.data), overwrite=self.overwrite)
        log(f"saved {self.out} (fingerprint {tok.fingerprint}); next: fasttok eval {self.out} DATA")


@dataclass(frozen=True)
class Eval:
    """Measures a tokenizer on data: the paper's table (naive tokens, FAST tokens, ratio) and the error per dimension.

    Example: fasttok eval TOKENIZER INDEX --split val
    """

    tokenizer: Positional[Path]
    """Tokenizer folder."""
    data: Positional[tuple[str, ...]]
    """INDEX, RLDS directories, npz or parquet."""
    split: str = "train"
    """Split to measure on."""
    horizon: int | None = None
    """Steps of a chunk; by default the tokenizer's own."""
    action_key: str = "action"
    """Step feature that holds the actions."""
    max_chunks: int = 20_000
    """Most chunks per embodiment."""
    json: bool = False
    """Print JSON on stdout."""

    def run(self) -> None:
        """Prints the tables."""
        tok = ActionTokenizer.load(self.tokenizer)
        results: dict[str, Any] = {}
        rows, dims = [], []
        for name, chunks in chunks_by_embodiment(tok, self.data, self.split, self.horizon, self.action_key).items():
            thin = chunks[:: max(1, -(-len(chunks) // self.max_chunks))]
            metrics = measure(tok, thin, name if tok.stats else None)
            results[name] = metrics.to_json()
            known = tok.embodiments.get(name)
            row = {
                "embodiment": name,
                "dims": thin.shape[2],
                "Hz": known.control_hz if known else None,
                "horizon": thin.shape[1],
            }
            rows.append(row | {"chunks": len(thin)} | metrics.row())
            dims += [[name, d, metrics.rms[d], metrics.max_error[d]] for d in range(thin.shape[2])]
        if self.json:
            emit_json({"tokenizer": str(self.tokenizer), "fingerprint": tok.fingerprint, "embodiments": results})
            return
        table("tokens per chunk", list(rows[0]), [list(row.values()) for row in rows])
        table("round-trip error in raw units", ["embodiment", "dim", "rms", "max"], dims)


@dataclass(frozen=True)
class Encode:
    """Action chunks to FAST ids.

    Example: fasttok encode TOKENIZER chunks.npz --out ids.npz

    The npz holds `actions` (n, T, D); the output holds `ids`, all rows joined, and `lengths` (n,).
    """

    tokenizer: Positional[Path]
    """Tokenizer folder."""
    data: Positional[Path]
    """npz with `actions` (n, T, D) in raw units."""
    out: Path
    """npz to write."""
    embodiment: str | None = None
    """Whose statistics to use, where the tokenizer holds several."""

    def run(self) -> None:
        """Writes the ids."""
        tok = ActionTokenizer.load(self.tokenizer)
        chunks = load_array(self.data, "actions")
        ids = tok.encode(chunks, self.embodiment)
        save_npz(
            self.out, ids=np.concatenate([*ids, np.zeros(0, np.int32)]), lengths=np.array([len(row) for row in ids])
        )
        log(f"{len(ids):,} chunks, {np.mean([len(row) for row in ids]):.1f} tokens each -> {self.out}")


@dataclass(frozen=True)
class Decode:
    """FAST ids to action chunks.

    Example: fasttok decode TOKENIZER ids.npz --horizon 16 --action-dim 7 --out actions.npz
    """

    tokenizer: Positional[Path]
    """Tokenizer folder."""
    data: Positional[Path]
    """npz with `ids` and `lengths`, as `fasttok encode` writes it."""
    out: Path
    """npz to write: `actions` (n, T, D) and `ok` (n,)."""
    horizon: int | None = None
    """Steps of a chunk; by default the tokenizer's own."""
    action_dim: int | None = None
    """Dims; by default the tokenizer's own."""
    embodiment: str | None = None
    """Whose statistics to use, where the tokenizer holds several."""
    on_error: OnError = "raise"
    """What to do with ids that are no chunk: raise, mask (NaN), pad."""

    def run(self) -> None:
        """Writes the actions."""
        tok = ActionTokenizer.load(self.tokenizer)
        ids, lengths = load_array(self.data, "ids"), load_array(self.data, "lengths")
        if int(lengths.sum()) != len(ids):
            raise InputError(f"{self.data}: lengths sum to {lengths.sum()}, there are {len(ids)} ids")
        name = tok.embodiment(self.embodiment)
        own = tok.embodiments.get(name) if name is not None else None
        horizon = self.horizon or (own.horizon if own else None)
        dim = self.action_dim or (own.action_dim if own else None)
        if horizon is None or dim is None:
            raise InputError("this tokenizer does not hold a horizon and dims; pass --horizon and --action-dim")
        rows = np.split(ids, np.cumsum(lengths)[:-1])
        out = tok.decode(rows, horizon=horizon, action_dim=dim, embodiment=name, on_error=self.on_error)
        save_npz(self.out, actions=out.actions, ok=out.ok)
        log(f"{len(rows):,} chunks, {int((~out.ok).sum()):,} failed -> {self.out}")


@dataclass(frozen=True)
class Inspect:
    """Shows chunks as tokens: what each id stands for, and raw against decoded actions.

    Example: fasttok inspect TOKENIZER INDEX --chunks 2
    """

    tokenizer: Positional[Path]
    """Tokenizer folder."""
    data: Positional[tuple[str, ...]]
    """INDEX, RLDS directories, npz or parquet."""
    split: str = "train"
    """Split to read."""
    chunks: int = 2
    """Chunks per embodiment."""
    action_key: str = "action"
    """Step feature that holds the actions."""

    def run(self) -> None:
        """Prints the tables."""
        tok = ActionTokenizer.load(self.tokenizer)
        for name, chunks in chunks_by_embodiment(tok, self.data, self.split, None, self.action_key).items():
            for number in np.linspace(0, len(chunks) - 1, min(self.chunks, len(chunks))).astype(int):
                show_chunk(tok, name if tok.stats else None, chunks[number], f"{name}, chunk {number}")


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
            "fasttok": __version__,
            "python": sys.version.split()[0],
            "machine": platform.platform(),
        }
        for package in ("numpy", "scipy", "tokenizers", "pyarrow", "apache-beam", "tensorflow", "jax"):
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
        if self.json:
            emit_json(found)
        else:
            table("", ["what", "value"], [[k, v] for k, v in found.items()])


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


def chunks_by_embodiment(
    tok: ActionTokenizer, paths: tuple[str, ...], split: str, horizon: int | None, action_key: str
) -> dict[str, NDArray]:
    """Chunks (n, T, D) by embodiment, of the tokenizer's own horizon unless another is asked for.

    Raises:
        InputError: the data's dims are not the tokenizer's, or no horizon is known.
    """
    out: dict[str, list[NDArray]] = {}
    for episode in read(paths, split):
        name = str(episode.metadata.get("embodiment") or episode.metadata.get("dataset") or "robot")
        if tok.stats and name not in tok.stats and len(tok.stats) == 1:
            name = next(iter(tok.stats))
        known = tok.embodiments.get(name)
        if tok.stats and known is None:
            tok.embodiment(name)
        action = action_of(episode, action_key)
        if known is not None and known.action_dim != action.shape[1]:
            raise InputError(
                f"{episode.where}: action has {action.shape[1]} dims, the tokenizer's embodiment {name!r} has {known.action_dim}"
            )
        steps = horizon or (known.horizon if known else None)
        if steps is None:
            raise InputError(f"{name}: this tokenizer does not say its horizon; pass --horizon")
        group = collect([episode], FitConfig(horizon=steps, action_key=action_key))
        out.setdefault(name, []).extend(next(iter(group.values())).train)
    if not out:
        raise InputError("no episodes in the data")
    return {name: np.concatenate(parts) for name, parts in out.items()}


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


def load_array(path: Path, name: str) -> NDArray:
    """One array of an npz.

    Raises:
        InputError: no such file or array, or it would need unpickling.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            if name not in archive.files:
                raise InputError(f"{path} has no array {name!r}; it has {', '.join(archive.files)}")
            return archive[name]
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable npz: {error}") from None


def save_npz(path: Path, **arrays: NDArray) -> None:
    """An npz that is whole or not there."""
    temporary = path.with_name(f".{path.name}.part.npz")
    np.savez(temporary, **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


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


def main(argv: list[str] | None = None) -> None:
    """The console script."""
    sys.exit(run(lambda: tyro.cli(Command, prog="fasttok", description=DESCRIPTION, args=argv).run()))


if __name__ == "__main__":
    main()
