"""Runs a page as a reader would: its commands and its Python blocks in order, in a folder of its own, on small data.

Numbers that cost hours are cut (`shortened`); what cannot run here has a reason (`why_not`). A server goes on while the page is
read, and later commands find its address.
"""

import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from examples.commands import words as real_words
from tests.chain import Chain
from tests.pages import given
from tests.pages.blocks import ROOT, Block, Typed, blocks, commands
from tests.train.tiny_runs import FLAGS

# What words of a command say about where it can run.
NEEDS = {
    r"(^| )make ": "runs everything; .ci/run does it",
    r"-m benchmarks": "needs hours, or minutes of a quiet machine",
    r"\b(gs|s3)://": "needs the network",
    r"--(weights|size paligemma|size small)\b": "needs a GPU",
    r"--distributed|/shared/|--runner|\$SLURM": "needs a cluster",
    r"libero|metaworld|vla_eval": "needs a simulator; make interop runs it",
    r"fasttok-study run": "needs hours; tests/train/test_study.py runs a small one",
    r" \.\.\. ": "part of a longer command",
    "--checkpoint best": "needs a run that was trained with --keep-best",
    r"export .*--layout": "needs a run of the full size; tests/train/test_export.py exports small ones",
    r"examples/0": "tests/examples/test_numbered.py runs it",
}
CUT = {
    ("fasttok-train", "--steps"): "2",
    ("fasttok-train", "--batch-size"): "8",
    ("fasttok-pipelines", "--samples"): "300",
    ("fasttok-mixtures", "--samples"): "300",
    ("fasttok-evaluate", "--episodes"): "1",
    ("fasttok-serve", "--batch"): "1",
    ("examples.tabletop.generate", "--episodes"): "3",
    ("examples.tabletop.baselines", "--episodes"): "1",
}
# (command, a word that it must have) -> words that are added.
MORE = {
    ("fasttok-train", "--shards"): [*FLAGS, "--data.text-vocab=600", "--batch-size=8", "--steps=2"],
    ("fasttok-evaluate", "--env"): ["--episodes=1"],
    ("examples.tabletop.generate", "-m"): ["--vqa=20", "--captions=20"],
    ("fasttok-serve", "fasttok-serve"): ["--no-real-time", "--batch=1"],
}
TAKE_DATA = {
    *(("fasttok", verb) for verb in ("fit", "eval", "inspect", "encode", "decode")),
    *(("fasttok-pipelines", verb) for verb in ("check", "index", "statistics", "inspect", "stats", "lint")),
    ("fasttok-train", "report"),
    ("fasttok-study", "figure"),
}
READS = ("--index", "--tokenizer", "--shards", "--run", "--data", "--entries", "--init-from", "--vqa", "--held-out")
SERVER = re.compile(r"serving .* at (ws://\S+)")
ADDRESS = re.compile(r"ws://(127\.0\.0\.1|HOST):(8000|PORT)")


def why_not(words: tuple[str, ...]) -> str | None:
    """Why a command is not run here; None if it is, provided that what it reads is there.

    >>> why_not(("fasttok-pipelines", "index", "gs://bucket/a", "--out", "INDEX"))
    'needs the network'
    """
    text = " ".join(words) + " "
    return next((reason for pattern, reason in NEEDS.items() if re.search(pattern, text)), None)


def inputs(words: Sequence[str]) -> Iterator[str]:
    """Files and folders that a command reads: its words before the first flag, and those of `READS`.

    >>> list(inputs("fasttok-pipelines build my.yaml --index INDEX --out SHARDS".split()))
    ['my.yaml', 'INDEX']
    """
    verb = words[1] if len(words) > 1 else ""
    if (Path(words[0]).name, verb) in TAKE_DATA:
        yield from itertools.takewhile(lambda word: not word.startswith("-"), words[2:])
    elif len(words) > 2 and words[2].endswith(".yaml"):
        yield words[2]
    elif verb == "datasets":
        yield from words[3:4] if words[2] == "draft" else ()
    for flag, value in pairwise(words):
        if (flag in READS and value != "fit") or (flag in ("--env", "--keys") and value.endswith(".yaml")):
            yield value


def example_of(block: Block) -> str | None:
    """Says that a block is a part of a numbered example, if it is: a test runs those."""
    examples = (ROOT / "examples").glob("[0-9]*.py")
    own = any(block.code.strip() in path.read_text(encoding="utf-8") for path in examples)
    return "tests/examples/test_numbered.py runs it" if own else None


def name_of(words: tuple[str, ...]) -> str:
    """The command, by which `CUT` and `MORE` know it."""
    return words[2] if words[1:2] == ("-m",) else Path(words[0]).name


def shortened(words: tuple[str, ...]) -> list[str]:
    """The same command with numbers that a test can afford. The last of two equal flags counts.

    >>> shortened(("fasttok-pipelines", "build", "all", "--samples", "20000"))
    ['fasttok-pipelines', 'build', 'all', '--samples', '300']
    """
    name, out = name_of(words), list(words)
    for at, word in enumerate(words[:-1]):
        if (name, word) in CUT:
            out[at + 1] = CUT[name, word]
    have = {word.split("=")[0] for word in out}
    added = [more for (command, word), mores in MORE.items() if command == name and word in words for more in mores]
    return out + [more for more in added if more.split("=")[0] not in have]


def outputs(words: list[str], written: tuple[str, ...]) -> Iterator[str]:
    """Files and folders that a command makes."""
    yield from written
    for flag, value in pairwise(words):
        if flag in ("--out", "--html", "--films-page") and not value.startswith("-"):
            yield value


@dataclass
class PageRun:
    """A page that is being read.

    Attributes:
        folder: in which it runs.
        chain: small data for it.
        shared: folder of the run that pages are given, which the first one that needs it trains.
        seen: names that its Python blocks have defined.
        address: of the server that it started last.
        name: of the page, relative to the checkout.
    """

    folder: Path
    chain: Chain
    shared: Path
    seen: dict[str, Any] = field(default_factory=dict)
    address: str = ""
    name: str = ""
    _servers: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def __enter__(self) -> "PageRun":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for server in self._servers:
            server.terminate()
            server.communicate()

    def page(self, path: Path) -> list[str]:
        """Runs all blocks of a page; what was not run, with the reason."""
        left = []
        self.name = str(path.relative_to(ROOT))
        for block in blocks(path):
            for typed in commands(block):
                if reason := (block.not_run["reason"] if block.not_run else self.command(typed)):
                    left.append(f"{typed}: {reason}")
            if block.language == "python":
                if reason := block.not_run["reason"] if block.not_run else example_of(block):
                    left.append(f"{block.place}: {reason}")
                else:
                    self.python(block)
        return left

    def python(self, block: Block) -> None:
        """Runs a Python block after those before it."""
        if not self.seen:
            exec(given.BEFORE.get(block.page, ""), self.seen)
        self.give(re.findall(r'"(\w+)"', block.code))
        sys.argv = ["page.py", self.address]  # the test puts the real one back
        exec(compile("\n" * (block.line - 1) + block.code, block.page, "exec"), self.seen)

    def command(self, typed: Typed) -> str | None:
        """Runs a command; or why not."""
        if reason := why_not(typed.words):
            return reason
        words = [ADDRESS.sub(self.address, word) if self.address else word for word in shortened(typed.words)]
        makes = set(outputs(words, typed.written))
        reads = [word for word in inputs(words) if word not in makes]
        self.give(reads)
        if missing := [word for word in reads if not (self.folder / word).exists()]:
            return f"needs your own data: {', '.join(missing)}"
        if "--policy" in words and not self.address:
            return "needs a server"
        if name_of(typed.words) == "fasttok-serve" and self.name not in given.SERVES:
            return f"needs a server that goes on; {' and '.join(given.SERVES)} starts one"
        if words[:2] == ["fasttok-study", "figure"]:
            self.give(["benchmarks"])
        for name in makes:
            place = self.folder / name
            if place.is_symlink() or place.is_file():
                place.unlink()
            elif place.is_dir():  # made by an earlier command of the page
                place.rename(place.with_name(f"{name}.{len(list(self.folder.iterdir()))}"))
        if name_of(tuple(words)) == "fasttok-serve":
            self.serve(words)
            return None
        done = subprocess.run(
            real_words(shlex.join(words)), cwd=self.folder, env=given.commands_environment(self.folder),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (
            f"{typed} (as {' '.join(words)}) failed:\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
        )
        for name in typed.written:
            (self.folder / name).write_text(done.stdout, encoding="utf-8")
        return None

    def serve(self, words: list[str]) -> None:
        """Starts a server at a free port, and waits until it is ready."""
        at = words.index("--port") if "--port" in words else len(words)
        words = [*words[:at], "--port", "0", *words[at + 2 :]]
        server = subprocess.Popen(
            real_words(shlex.join(words)), cwd=self.folder, env=given.commands_environment(self.folder),
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._servers.append(server)
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line)
            if found := SERVER.search(line):
                self.address = found[1]
                return
        pytest.fail(f"{' '.join(words)} ended:\n{''.join(said)}")

    def trained(self) -> Path:
        """A run on the chain's shards, for pages that train none."""
        run = self.shared / "RUN"
        if not run.exists():
            command = ("fasttok-train", "--shards", str(self.chain.shards), "--out", str(run))
            self.command(Typed("(given)", command))
        return run

    def give(self, names: list[str]) -> None:
        """Puts what is named and not there into the folder."""
        makers = given.makers(self.chain)
        for name in names:
            place = self.folder / name
            if name == "RUN" and not place.exists():
                place.symlink_to(self.trained())
            elif name == "INDEX" and self.name in given.ONE_ROBOT and not place.exists():
                self.command(Typed("(given)", ("fasttok-pipelines", "index", "my_robot", "--out", "INDEX")))
            elif name in makers and not place.exists() and self.name in given.ONLY_ON.get(name, (self.name,)):
                makers[name](place)
