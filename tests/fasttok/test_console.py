"""What commands print: numbers stay whole, nothing folds in a pipe, progress keeps what it was last told."""

import io
import json
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fasttok.common import console

COLUMNS = ["dataset", "rows", "share", "range", "what it is"]
ROWS: list[list[object]] = [
    ["tabletop_planar_with_a_long_name", 123_456_789, "40.00 %", "0.1234..5.678", "a robot that moves in a plane " * 8],
    ["b", 1, "5 %", "1..2", "text"],
]


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def printed(
    stream: io.StringIO,
    width: int,
    monkeypatch: pytest.MonkeyPatch,
    columns: list[str] = COLUMNS,
    rows: list[list[object]] = ROWS,
) -> str:
    """The table, on a terminal that is so wide or in a file."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    console.table("a title", columns, rows, file=stream)
    return re.sub(r"\x1b\[[^m]*m", "", stream.getvalue())


@pytest.mark.parametrize("width", [120, 80, 60, 20])
def test_numbers_never_wrap(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(Terminal(), width, monkeypatch)
    for number in ("123,456,789", "40.00 %", "0.1234..5.678", "5 %", "1..2"):
        assert number in text


def test_a_narrow_terminal_folds_texts_into_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(Terminal(), 70, monkeypatch).splitlines()
    assert len(lines) > 5
    assert max(map(len, lines)) <= 70


WIDE = ["source", "kind", "planned", "written", "rejected", "epochs", "FAST ids/row", "clamped"]
BUILT: list[list[object]] = [
    ["planar", "robot", 9600, 9601, 0, 2.087, 11.4, 3],
    ["captions", "caption", 2400, 2402, 7, 1.2, None, 5],
]


@pytest.mark.parametrize(("width", "below"), [(100, []), (80, []), (60, WIDE[6:]), (40, WIDE[4:])])
def test_columns_that_have_no_room_are_stacked_and_named(
    width: int, below: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = printed(Terminal(), width, monkeypatch, WIDE, BUILT)
    assert max(map(len, text.splitlines())) <= width
    assert {"9,600", "9,601", "2.087", "11.4", "2,402"} <= set(text.split())
    if below:
        said = " ".join(text.partition("(")[2].partition(")")[0].split())
        assert (
            said
            == f"{width} characters per line are too few for this table; below, with source repeated: {', '.join(below)}"
        )
        assert text.count("captions") == 1 + text.count("\n\n")
    else:
        assert "repeated" not in text


def test_a_table_of_two_columns_is_never_stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(Terminal(), 30, monkeypatch, ["what", "value"], [["machine", "a name that is long " * 5]])
    assert "repeated" not in text
    assert max(map(len, text.splitlines())) <= 30


def test_output_into_a_pipe_is_never_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(io.StringIO(), 40, monkeypatch).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert str(ROWS[0][-1]).strip() in lines[2]


def test_progress_keeps_its_note_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(console, "err", Console(file=stream, force_terminal=True, width=160, highlight=False))
    with console.progress("training", 3, "steps") as advance:
        advance(0, "loss 1.5")
        advance()
        advance()
    last = stream.getvalue().rpartition("training")[2]
    assert "loss 1.5" in last


def test_names_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as rich's markup ([bold], [/data]) or names of emoji (:100:)."""
    stream = Terminal()
    monkeypatch.setattr(console, "err", Console(file=stream, force_terminal=True, width=160, highlight=False))
    console.log("0:100:5 [red]")
    with console.progress("reading [bold]a", 2, "episodes") as advance:
        advance(1, "[/data/x] :100:")
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    for words in ("0:100:5 [red]", "reading [bold]a", "[/data/x] :100:"):
        assert words in said
    text = printed(io.StringIO(), 80, monkeypatch, ["a :100:", "b"], [["0:100:5", "[/]"]])
    assert text.split() == ["a", "title", "a", ":100:", "b", "0:100:5", "[/]"]


def test_progress_keeps_its_note_in_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=stream, highlight=False, soft_wrap=True))
    monkeypatch.setattr(console, "PLAIN_LINE_SECONDS", 0.0)
    with console.progress("training", 3, "steps") as advance:
        advance(1, "loss 1.5")
        advance()
        advance(1, "")
    said = [re.sub(r", \d+ s(, eta \d+ s)?", "", line) for line in stream.getvalue().splitlines()]
    assert said == ["training: 1/3 steps, loss 1.5", "training: 2/3 steps, loss 1.5", "training: 3/3 steps"]


def test_table_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", ["a"], [["[bold]"]])
    assert capsys.readouterr().out.split() == ["a", "[bold]"]


def test_a_command_prints_what_libraries_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """As plain lines, from INFO up, and only while the command runs: who uses the libraries sets up logging as they like."""
    stream = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=stream, highlight=False, soft_wrap=True))

    def command() -> None:
        logging.getLogger("train.loop").info("resuming after step %d [bold]", 3)
        logging.getLogger("train.loop").debug("not this")
        logging.getLogger("others").warning("nor this")

    assert console.run(command) == 0
    command()
    assert stream.getvalue() == "resuming after step 3 [bold]\n"


def test_too_little_memory_is_said_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=stream, highlight=False, soft_wrap=True))
    assert console.run(lambda: np.empty(1 << 57)) == 1
    assert re.fullmatch(
        r"error: not enough memory: Unable to allocate 1.00 EiB .*; look for a number that is too large, or give less data\n",
        stream.getvalue(),
    )


def plain(monkeypatch: pytest.MonkeyPatch, *, at: list[float]) -> io.StringIO:
    """Where plain lines go, while the clock says `at[0]`."""
    stream = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=stream, highlight=False, soft_wrap=True))
    monkeypatch.setattr(time, "monotonic", lambda: at[0])
    return stream


def test_what_is_left_is_told_by_new_items_and_not_by_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run resumed at 90 of 190 steps: 60 s of compiling with the first, then 1 s each."""
    now = [0.0]
    stream = plain(monkeypatch, at=now)
    with console.progress("training", 190, "steps", already=90, lines=True) as advance:
        now[0] += 60
        advance(1, "compiled")
        for step in range(92, 102):
            now[0] += 1
            advance(1, f"step {step}" if step % 5 == 0 else None)
    assert stream.getvalue().splitlines() == [
        "training: 91/190 steps, 60 s, compiled",
        "training: 95/190 steps, 64 s, eta 95 s, step 95",
        "training: 100/190 steps, 69 s, eta 90 s, step 100",
    ]


def test_each_note_is_a_line_and_silence_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    stream = plain(monkeypatch, at=now)
    with console.progress("training", 1000, "steps", lines=True) as advance:
        for _ in range(3):
            now[0] += 0.1
            advance(1, "a note")  # however fast they come
        for _ in range(65):
            now[0] += 1
            advance()
    assert stream.getvalue().count("a note") == 3
    assert stream.getvalue().splitlines()[3] == "training: 63/1000 steps, 60 s, eta 910 s"


def test_what_was_done_before_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    stream = plain(monkeypatch, at=now)
    with console.progress("index", 100, "files", already=80) as advance:
        now[0] += 10
        advance()
        now[0] += 10
        advance()
    assert stream.getvalue().splitlines() == [
        "index: 81/100 files, 10 s",
        "index: 82/100 files, 20 s, eta 180 s",
    ]


def test_runs_that_go_side_by_side_count_from_their_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of twelve runs were done after 1,000 and 1,040 s; 400 s were said to be left, 40 s for each of ten."""
    now = [0.0]
    stream = plain(monkeypatch, at=now)
    with console.progress("runs", 12, "runs", side_by_side=True) as advance:
        now[0] = 1000
        advance()
        now[0] = 1040
        advance()
    assert stream.getvalue().splitlines()[-1] == "runs: 2/12 runs, 1040 s, eta 5200 s"


def test_nothing_is_said_of_what_is_left_before_the_warm_up_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    stream = plain(monkeypatch, at=now)
    with console.progress("training", 1000, "steps", lines=True) as advance:
        for _ in range(4):
            now[0] += 0.6
            advance(1, "step")
        now[0] += 0.6
        advance(1, "step")
    said = stream.getvalue().splitlines()
    assert [("eta" in line) for line in said] == [False, False, False, False, True]
    assert said[-1] == "training: 5/1000 steps, 3 s, eta 597 s, step"


def test_a_bar_says_what_is_left_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, now = Terminal(), [0.0]
    monkeypatch.setattr(console, "err", Console(file=stream, force_terminal=True, width=160, highlight=False))
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with console.progress("reading", 100, "files") as advance:
        advance()
        assert "eta" not in stream.getvalue()
        now[0] += 10
        advance(10)
    assert "eta 89 s" in stream.getvalue()


def test_numbers_that_are_not_finite_are_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    console.emit_json(
        {"a": float("nan"), "b": [float("inf"), -float("inf"), 1e300, 2**70], "c": np.array([np.nan, 0.1])}
    )

    def strange(word: str) -> None:
        raise AssertionError(word)

    said = json.loads(capsys.readouterr().out, parse_constant=strange)
    assert said == {"a": None, "b": [None, None, 1e300, 2**70], "c": [None, 0.1]}


PRINTS = """
import sys
from pathlib import Path
from fasttok.common import console
from fasttok.common.lasting_stdout import stdout_that_ends

def work(argv):
    if argv[0] == "rows":
        while True:
            stdout_that_ends().write("a row\\n")
    console.table("", ["n"], [[i] for i in range(5000)])
    console.emit_json(list(range(5000)))
    print("line " * 5000)
    console.log("said")
    Path(argv[1]).write_text("saved")

console.script("x", work)
"""


@pytest.mark.parametrize("flags", [(), ("-u",)])
@pytest.mark.parametrize("what", ["table", "rows", "--version"])
def test_a_pipe_that_closes_early_ends_no_work(what: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    """Only rows, which are the whole result, end there."""
    reads, writes = os.pipe()
    os.close(reads)
    words = [what] if what == "--version" else [what, str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, *flags, "-c", PRINTS, *words], stdout=writes, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, "said\n" if what == "table" else "")
    assert (tmp_path / "out").exists() == (what == "table")


@pytest.mark.parametrize("closed", [">&-", "2>&1 | true", "2>&-"])
def test_output_that_nobody_reads_ends_no_work(closed: str, tmp_path: Path) -> None:
    subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" table "$2" {closed}', sys.executable, PRINTS, str(tmp_path / "out")], check=True
    )
    assert (tmp_path / "out").read_text() == "saved"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_stdout_is_said(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PRINTS, "table", str(tmp_path / "out")],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: nothing more can be written: No space left")


def test_names_that_stdout_cannot_encode_are_printed_with_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    assert console.run(lambda: console.table("", ["robot"], [["Kr\u00e4n"], ["\u65e5\u672c"]])) == 0
    sys.stdout.flush()
    assert raw.getvalue().decode("latin-1").split() == ["robot", "Kr\u00e4n", "\\u65e5\\u672c"]
