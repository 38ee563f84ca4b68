"""`python -m benchmarks.fasttok`: fasttok against the published algorithm, one thread, same inputs, tokens compared.

    python -m benchmarks.fasttok --universal path/to/the/published/FAST+/folder

Both run in this process in turn, and CPU time counts, so that the machine's mood divides out of each ratio; medians over repeats,
with the lowest and the highest.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("RAYON_NUM_THREADS", "1")  # the tokenizers library, before it is imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import tyro
from numpy.typing import NDArray
from tokenizers import Tokenizer

from benchmarks import about, published
from fasttok import ActionTokenizer
from fasttok.codec import dct
from fasttok.common.console import log, run, table

SHAPES = ((1024, 15, 7), (1024, 50, 14), (256, 100, 32))
FITS = ((20_000, 15, 7), (50_000, 15, 7), (20_000, 50, 14))
FIT_REPEATS = 5  # of each fit, in a process of its own
SCALE = 10.0
MOST_IDS = 2048  # of transforms: rotated coefficients of 100 x 32 have a range of more than 1024


@dataclass(frozen=True)
class BenchConfig:
    """Times encode, decode, fit, threads and start; writes benchmarks/results/fasttok.json and .md.

    Example: python -m benchmarks.fasttok --universal FAST+
    """

    universal: Path | None = None
    """Folder of the published FAST+ vocabulary; without it, only vocabularies fitted here are measured."""
    repeats: int = 9
    """Repeats; the median counts."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def smooth(count: int, horizon: int, dim: int, seed: int = 0) -> NDArray[np.float64]:
    """Chunks like a robot's: a few slow cosines and a little noise, within [-1, 1]."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, horizon)[None, :, None]
    waves = [
        rng.normal(0, (k + 1) ** -1.5, (count, 1, dim)) * np.cos(np.pi * k * t + rng.uniform(0, 6, (count, 1, dim)))
        for k in range(4)
    ]
    return np.clip(sum(waves) / 1.5 + rng.normal(0, 0.01, (count, horizon, dim)), -1, 1)


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median over repeats, after one that does not count."""
    work()
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


@dataclass(frozen=True)
class Ratio:
    """Our CPU time against the published algorithm's, measured in turn.

    Attributes:
        seconds: ours, the median.
        ratios: theirs / ours, of each repeat.
    """

    seconds: float
    ratios: tuple[float, ...]

    @classmethod
    def of(cls, ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int, times: tuple[int, int]) -> "Ratio":
        """Measures; each repeat does ours `times[0]` times and theirs `times[1]` times."""
        ours(), theirs()
        found = [(cpu_seconds(ours, times[0]), cpu_seconds(theirs, times[1])) for _ in range(repeats)]
        return cls(statistics.median(a for a, _ in found), tuple(b / a for a, b in found))

    @property
    def median(self) -> float:
        """The ratio."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> str:
        """From the lowest to the highest ratio."""
        return f"{min(self.ratios):.3g} to {max(self.ratios):.3g}"


def cpu_seconds(work: Callable[[], Any], times: int) -> float:
    """CPU seconds of one of `times` calls."""
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


def compare(name: str, chunks: NDArray, tok: ActionTokenizer, vocabulary: Tokenizer, repeats: int) -> dict[str, Any]:
    """One row: encode, decode and a single chunk, ours and the published algorithm's.

    Raises:
        AssertionError: tokens or actions differ.
    """
    _, horizon, dim = chunks.shape
    theirs = published.encode(chunks, vocabulary, SCALE, tok.min_token)
    ours = tok.encode(chunks)
    assert [row.tolist() for row in ours] == theirs, "tokens differ"
    back = published.decode(theirs, vocabulary, SCALE, tok.min_token, horizon, dim)
    assert np.array_equal(tok.decode(ours, horizon=horizon, action_dim=dim).actions, back), "actions differ"
    return timed(name, chunks, tok, (vocabulary, tok.min_token), repeats)


def timed(
    name: str, chunks: NDArray, tok: ActionTokenizer, other: tuple[Tokenizer, int], repeats: int
) -> dict[str, Any]:
    """One row: ours against the published algorithm with a vocabulary and its smallest coefficient."""
    count, horizon, dim = chunks.shape
    vocabulary, low = other
    ours, theirs = tok.encode(chunks), published.encode(chunks, vocabulary, SCALE, low)

    def encoding(first: int, times: tuple[int, int]) -> Ratio:
        def old() -> None:
            published.encode(chunks[:first], vocabulary, SCALE, low)

        return Ratio.of(lambda: tok.encode(chunks[:first]), old, repeats, times)

    def decoding(first: int, times: tuple[int, int]) -> Ratio:
        def old() -> None:
            published.decode(theirs[:first], vocabulary, SCALE, low, horizon, dim)

        return Ratio.of(lambda: tok.decode(ours[:first], horizon=horizon, action_dim=dim), old, repeats, times)

    encode, decode = encoding(count, (10, 1)), decoding(count, (10, 1))
    single, single_decode = encoding(1, (200, 50)), decoding(1, (200, 50))
    return {
        "vocabulary": name,
        "chunks": f"{count} x ({horizon}, {dim})",
        "tokens": statistics.fmean(map(len, ours)),
        "encode chunks/s": count / encode.seconds,
        "encode": encode.median,
        "encode, range": encode.spread,
        "decode chunks/s": count / decode.seconds,
        "decode": decode.median,
        "decode, range": decode.spread,
        "one, encode us": 1e6 * single.seconds,
        "one, encode": single.median,
        "one, decode us": 1e6 * single_decode.seconds,
        "one, decode": single_decode.median,
    }


def transforms_compared(config: BenchConfig) -> list[dict[str, Any]]:
    """Learned transforms and fixed splines, against the published algorithm with FAST+, or with a fit of the chunks."""
    rows = []
    for shape in SHAPES:
        chunks = smooth(*shape)
        if config.universal is not None:
            rival, library = (
                ActionTokenizer.load(config.universal),
                Tokenizer.from_file(str(config.universal / "tokenizer.json")),
            )
        else:
            rival = ActionTokenizer.fit(chunks, mode="published")
            library = Tokenizer.from_str(rival.bpe.to_json())
        for name in ("basis", "rotation", "both"):
            tok = ActionTokenizer.fit(chunks, MOST_IDS, transform=name)
            rows.append(timed(f"transform {name}", chunks, tok, (library, rival.min_token), config.repeats))
        fixed = ActionTokenizer.fit(chunks, 256, mode="fixed")
        rows.append(timed("fixed, 10 points", chunks, fixed, (library, rival.min_token), config.repeats))
        for row in rows[-4:]:
            log(f"{row['vocabulary']}, {row['chunks']}: encode {row['encode']:.1f}x, decode {row['decode']:.1f}x")
    return rows


def bounds(config: BenchConfig) -> list[dict[str, Any]]:
    """How much of encoding and decoding is the transform that the published algorithm calls too; our CPU seconds."""
    rows = []
    for shape in SHAPES:
        chunks = smooth(*shape)
        tok = ActionTokenizer.load(config.universal) if config.universal is not None else ActionTokenizer.fit(chunks)
        ids, coefs = tok.encode(chunks), dct.coefficients(chunks, SCALE)
        encode, forward = partial(tok.encode, chunks), partial(dct.coefficients, chunks, SCALE)
        decode = partial(tok.decode, ids, horizon=shape[1], action_dim=shape[2])
        backward = partial(dct.actions, coefs, SCALE)
        rows.append(
            {
                "chunks": f"{shape[0]} x {shape[1:]}",
                "encode, of which the DCT": Ratio.of(encode, forward, config.repeats, (10, 10)).median,
                "decode, of which the inverse DCT": Ratio.of(decode, backward, config.repeats, (10, 10)).median,
            }
        )
    return rows


def vocabularies_compared(config: BenchConfig) -> list[dict[str, Any]]:
    """All rows of the first table."""
    rows = []
    vocabularies: list[tuple[str, Callable[[NDArray], tuple[ActionTokenizer, Tokenizer]]]] = []
    if config.universal is not None:
        universal = ActionTokenizer.load(config.universal)
        library = Tokenizer.from_file(str(config.universal / "tokenizer.json"))
        vocabularies.append(("FAST+", lambda _chunks: (universal, library)))
    for mode in ("published", "native"):

        def fitted(chunks: NDArray, mode: Any = mode) -> tuple[ActionTokenizer, Tokenizer]:
            tok = ActionTokenizer.fit(chunks, mode=mode)
            return tok, Tokenizer.from_str(tok.bpe.to_json())

        vocabularies.append((f"{mode} fit", fitted))
    noise = np.random.default_rng(0).uniform(-1, 1, (1024, 15, 7))
    for name, make in vocabularies:
        for what, chunks in [("", smooth(*shape)) for shape in SHAPES] + [(", noise", noise)]:
            rows.append(compare(name + what, chunks, *make(chunks), config.repeats))
            log(f"{rows[-1]['vocabulary']}, {rows[-1]['chunks']}: encode {rows[-1]['encode']:.1f}x")
    return rows


def in_process(code: str) -> dict[str, Any]:
    """Runs code in a fresh interpreter; it prints JSON."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


FIT = """
import json, re, time
import numpy as np
def memory(what):  # MB, of /proc/self/status
    return int(re.search(what + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1e3
from benchmarks import published
from fasttok import ActionTokenizer
chunks = np.load({file!r})
ActionTokenizer.fit(chunks[:50], mode="native")  # compiled, if no cache was there
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before = memory("VmRSS")
began = time.process_time()
{work}
print(json.dumps({{"seconds": time.process_time() - began, "spec": spec, "min_token": low,
                  "extra_mb": memory("VmHWM") - before}}))
"""
FIT_WORK = {
    "published": "vocabulary, low = published.fit(chunks, 1024, 10.0); spec = vocabulary.to_str()",
    "ours, published mode": "tok = ActionTokenizer.fit(chunks, mode='published'); spec, low = tok.bpe.to_json(), tok.min_token",
    "ours, native mode": "tok = ActionTokenizer.fit(chunks); spec, low = tok.bpe.to_json(), tok.min_token",
}


def fitting(folder: Path, repeats: int = FIT_REPEATS) -> list[dict[str, Any]]:
    """Each fit in a process of its own, so that peak memory beyond the chunks is its own; medians."""
    rows = []
    for n, t, d in FITS:
        file = str(folder / "chunks.npy")
        np.save(file, smooth(n, t, d, seed=1))
        tries: dict[str, list[dict[str, Any]]] = {what: [] for what in FIT_WORK}
        for _ in range(repeats):
            for what, work in FIT_WORK.items():
                tries[what].append(in_process(FIT.format(file=file, work=work)))
        found = {
            what: results[0] | {key: statistics.median(r[key] for r in results) for key in ("seconds", "extra_mb")}
            for what, results in tries.items()
        }
        assert found["ours, published mode"]["spec"] == found["published"]["spec"], "published fits differ"
        for what, result in found.items():
            log(f"fit {n} x ({t}, {d}), {what}: {result['seconds']:.2f} s")
            rows.append(
                {
                    "chunks": f"{n} x ({t}, {d})",
                    "fit": what,
                    "seconds": result["seconds"],
                    "speed": found["published"]["seconds"] / result["seconds"],
                    "speed, range": Ratio(
                        result["seconds"],
                        tuple(
                            a["seconds"] / b["seconds"] for a, b in zip(tries["published"], tries[what], strict=True)
                        ),
                    ).spread,
                    "extra MB": result["extra_mb"],
                    "memory": result["extra_mb"] / found["published"]["extra_mb"],
                }
            )
    return rows


def threads(repeats: int) -> list[dict[str, Any]]:
    """The same work by one and by two threads that share a tokenizer."""
    rows = []
    for _, t, d in SHAPES:
        shape = (2**21 // (t * d), t, d)
        chunks = smooth(*shape)
        tok = ActionTokenizer.fit(chunks[:1000])
        ids = tok.encode(chunks)
        _, horizon, dim = shape
        works: dict[str, Callable[[], Any]] = {
            "encode": partial(tok.encode, chunks),
            "decode": partial(tok.decode, ids, horizon=horizon, action_dim=dim),
        }
        for what, work in works.items():

            def together(count: int, work: Callable[[], Any] = work) -> None:
                many = [threading.Thread(target=lambda: [work() for _ in range(8 // count)]) for _ in range(count)]
                for thread in many:
                    thread.start()
                for thread in many:
                    thread.join()

            one, two = seconds(lambda: together(1), repeats), seconds(lambda: together(2), repeats)
            rows.append({"work": what, "chunks": f"{shape[0]} x {shape[1:]}", "two threads": one / two})
    return rows


START = """
import json, time
import numpy, scipy.fft, numba
theirs = time.process_time()
from fasttok import ActionTokenizer
tok = ActionTokenizer.load({folder!r})
loaded = time.process_time() - theirs
{work}
first = time.process_time() - theirs - loaded
print(json.dumps({{"numpy, scipy.fft, numba": theirs, "import and load": loaded, "first call": first}}))
"""


NUMBA = """
import json, sys, time
import numpy, scipy.fft, numba
sys.path.insert(0, {folder!r})
before = time.process_time()
from one_line import add
add(1, 2)
print(json.dumps({{"seconds": time.process_time() - before}}))
"""


def starting(tokenizer: Path, folder: Path, repeats: int) -> list[dict[str, Any]]:
    """What a process pays that only decodes, or only encodes, once the kernels are in the cache; CPU seconds.

    Beside it, what the first call of any function costs that numba has compiled and kept.
    """
    (folder / "one_line.py").write_text("import numba\n\n\n@numba.njit(cache=True)\ndef add(a, b):\n    return a + b\n")
    code = NUMBA.format(folder=str(folder))
    in_process(code)
    alone = [in_process(code)["seconds"] for _ in range(repeats)]
    rows = []
    for what, work in {
        "decode": "tok.decode([[0]], horizon=1, action_dim=1, on_error='mask')",
        "encode": "tok.encode(numpy.zeros((1, 15, 7)))",
    }.items():
        code = START.format(folder=str(tokenizer), work=work)
        in_process(code)
        found = [in_process(code) for _ in range(repeats)]
        middle = {key: statistics.median(one[key] for one in found) for key in found[0]}
        whole = middle["import and load"] + middle["first call"]
        rows.append(
            {"process": what}
            | middle
            | {"above those": whole, "a one-line function of numba": statistics.median(alone)}
        )
    return rows


HELP = ("--help", "fit --help", "eval --help", "encode --help", "decode --help", "inspect --help", "info --help")


def helping(repeats: int) -> list[dict[str, Any]]:
    """CPU seconds of help, the interpreter's own start included."""
    codes = {f"fasttok {words}": f"from fasttok.cli import main; main({words.split()!r})" for words in HELP}
    rows = []
    for what, code in {"python -c pass": "pass", "python -c 'import numpy'": "import numpy", **codes}.items():
        found = []
        for _ in range(repeats):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            found.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        rows.append({"command": what, "seconds": statistics.median(found), "lowest": min(found), "highest": max(found)})
    return rows


ENCODE, DECODE, ONE, FIT_GOAL, START_GOAL, HELP_GOAL = (60, 65, 70), (30, 20, 14), (16, 5), (10, 10, 15), 0.1, 0.3
STOPS = {
    "encode": "the DCT is scipy's on both sides; what is left is one vector scan of the row for each merge",
    "decode": "the inverse DCT is scipy's on both sides, up to two thirds of our time",
    "one chunk": "the rest is calling compiled code from Python, four calls each way",
    "native fit": "two thirds are one loop, which for each pair it joins looks up four others in a table of counts",
    "first call": "numba's own part: see what a one-line function costs; the rest is imports",
    "help": "an interpreter that imports rich and tyro and prints",
}


def goals(tables: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What was aimed at, what was reached, and what sets the end."""
    speed, _, _, fits, _, start, helps = tables.values()
    shapes, one = speed[:3], speed[1]
    native = [row for row in fits if "native" in row["fit"]]
    slowest = max(row["seconds"] for row in helps if row["command"].startswith("fasttok"))
    found: list[tuple[str, str, str, float | int, float]] = []
    for (horizon, dim), row, encode, decode in zip(
        [shape[1:] for shape in SHAPES], shapes, ENCODE, DECODE, strict=True
    ):
        found.append(("encode", f"encode {horizon} x {dim}, times published", "at least", encode, row["encode"]))
        found.append(("decode", f"decode {horizon} x {dim}, times published", "at least", decode, row["decode"]))
    for what, times in zip(("encode", "decode"), ONE, strict=True):
        found.append(
            ("one chunk", f"{what} one chunk of 50 x 14, times published", "at least", times, one[f"one, {what}"])
        )
    for row, fit in zip(native, FIT_GOAL, strict=True):
        found.append(("native fit", f"native fit of {row['chunks']}, times published", "at least", fit, row["speed"]))
    found.append((
        "first call", "first encode of a process beyond numpy, scipy.fft and numba, CPU s", "at most", START_GOAL,
        start[-1]["above those"],
    ))  # fmt: skip
    found.append(("help", "the slowest --help of a verb, CPU s", "at most", HELP_GOAL, slowest))
    rows = []
    for key, what, least, aim, reached in found:
        met = reached >= aim if least == "at least" else reached <= aim
        rows.append({
            "what": what, "goal": f"{least} {aim}", "reached": reached, "met": "yes" if met else "no",
            "what sets the end": STOPS[key],
        })  # fmt: skip
    return rows


def main(config: BenchConfig) -> None:
    """Measures, prints and writes."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        ActionTokenizer.fit(smooth(200, 15, 7)).save(Path(folder) / "tok")
        tables = {
            "Encode and decode: ratios to the published algorithm, CPU time": vocabularies_compared(config),
            "Other transforms than the DCT: ratios to the published algorithm, CPU time": transforms_compared(config),
            "What bounds them: the share of our time that is scipy's DCT, with FAST+": bounds(config),
            "Fit: CPU seconds, each in a process of its own": fitting(Path(folder)),
            "Threads: one thread's time / two threads' time for the same work": threads(config.repeats),
            "Start of a process, CPU seconds": starting(
                config.universal or Path(folder) / "tok", Path(folder), config.repeats
            ),
            "Help, CPU seconds": helping(config.repeats),
        }
    if config.universal is not None:  # the goals are about FAST+
        tables = {"Goals": goals(tables)} | tables
    for title, rows in tables.items():
        table(title, list(rows[0]), [list(row.values()) for row in rows])
    command = (
        f"python -m benchmarks.fasttok{' --universal FAST+' if config.universal else ''} --repeats {config.repeats}"
    )
    about.write(config.out, "fasttok", "fasttok against the published FAST algorithm", command, tables)


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(BenchConfig, prog="python -m benchmarks.fasttok"))))
