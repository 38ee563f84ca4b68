"""README and docs do what they say: each command is understood, each Python block runs, and what is not run says why."""

import ast
import os
import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.chain import Chain
from tests.pages.blocks import NOT_RUN, REASONS, ROOT, Block, Typed, blocks, commands, pages
from tests.pages.running import PageRun
from tests.pages.understood import understand

BLOCKS = [block for path in pages() for block in blocks(path)]
COMMANDS = [typed for block in BLOCKS for typed in commands(block)]


def test_blocks_and_commands_are_found() -> None:
    assert {block.page for block in BLOCKS} >= {"README.md", "docs/train.md", "examples/tabletop/README.md"}
    assert len(COMMANDS) > 50
    for path in pages():  # a fence that is never closed would hide all after it
        fences = re.findall(r"^ *```", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * sum(block.page == str(path.relative_to(ROOT)) for block in BLOCKS), path


@pytest.mark.parametrize("typed", COMMANDS, ids=str)
def test_a_command_is_understood(typed: Typed) -> None:
    understand(typed.words)


@pytest.mark.parametrize(
    "words",
    [
        "fasttok fit INDEX --out T --secnds 1.0",
        "fasttok-pipelines build all --index INDEX --sample 3 --out S",
        "fasttok-train --preset kii --shards S --out R",
        "fasttok-evaluate --rum RUN",
        "fasttok-mixtures explian demo",
        "python -m examples.tabletop.generate --ot DIR",
        "python -m benchmarks.lodaing",
        "make demoo",
    ],
)
def test_a_command_with_a_mistake_is_not(words: str) -> None:
    with pytest.raises((SystemExit, ValueError, AssertionError)):
        understand(words.split())


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.not_run or "# not run" in block.code], ids=lambda block: block.place
)
def test_what_is_not_run_says_why(block: Block) -> None:
    said = block.not_run
    assert said, f"{block.place}: the first line must be as {NOT_RUN.pattern}"
    assert said["reason"].startswith(REASONS), f"{block.place}: expected a reason that begins with one of {REASONS}"
    if said["test"]:
        assert (ROOT / said["test"]).is_file(), f"{block.place}: {said['test']} is not there"


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language in ("python", "yaml")], ids=lambda block: block.place
)
def test_a_block_is_well_formed(block: Block) -> None:
    if block.language == "yaml":
        list(yaml.safe_load_all(block.code))
    elif not (block.not_run and block.not_run["reason"] == "signatures only"):
        ast.parse(block.code)


RUN_PAGES = [
    path for path in pages() if any(block.language == "python" or list(commands(block)) for block in blocks(path))
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one page makes for the others."""
    return tmp_path_factory.mktemp("pages")


# Pages whose Python blocks need no data but their own, so they run with the quick tests.
LIGHT = ("README.md", "docs/index.md", "docs/formats.md", "docs/check.md", "docs/fasttok.md", "docs/worlds.md")


@pytest.mark.parametrize("page", [page for page in LIGHT if (ROOT / page).is_file()])
def test_python_blocks_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    nothing = Chain(tmp_path, tmp_path, tmp_path, tmp_path)
    with PageRun(tmp_path, nothing, tmp_path, name=page) as run:
        for block in blocks(ROOT / page):
            if block.language == "python" and not block.not_run:
                run.python(block)


@pytest.mark.slow
@pytest.mark.skipif("FASTTOK_PAGES" not in os.environ, reason="runs for many minutes; `make pages` does it")
@pytest.mark.parametrize("path", RUN_PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_runs(path: Path, chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    with PageRun(tmp_path, chain, shared) as run:
        for reason in run.page(path):
            print("not run:", reason)
