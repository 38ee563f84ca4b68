"""Ctrl-C and SIGTERM: the step in work is finished and saved, the status is the usual one, and the resumed run is bit for bit."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.chain import Chain
from tests.train.tiny_runs import command, ended, losses, two_processes, until_logged

WATCHED = """
import logging, signal, sys, time
logging.basicConfig(format="%(message)s")
logging.getLogger("train").setLevel(logging.INFO)
from train.runs.stopping import Stopping
with Stopping(None) as stopping:
    stopping.after_step() if "begun" in sys.argv else None
    print("ready", flush=True)
    while not stopping.after_step() if "steps" in sys.argv else True:
        time.sleep(0.05)
print("saved", flush=True)
stopping.end("all is well")
"""


@pytest.fixture(autouse=True)
def ctrl_c_switched_on() -> Iterator[None]:
    """A shell may have started these tests with Ctrl-C switched off, and what they start would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def begun(*words: str, before: str = "") -> "subprocess.Popen[str]":
    """A process that waits as a run does, once it is ready; `before`: what its shell does first."""
    process = subprocess.Popen(
        ["sh", "-c", f'{before} exec "$@"', "sh", sys.executable, "-c", WATCHED, *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def heard(process: "subprocess.Popen[str]") -> None:
    assert process.stderr is not None
    assert "stopping after this step" in process.stderr.readline()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_is_heard_and_the_second_ends_at_once(number: int, status: int) -> None:
    process = begun("begun", "steps")
    process.send_signal(number)
    heard(process)
    said, also = process.communicate()
    assert (said, "all is well" in also) == ("saved\n", True)
    assert process.returncode == (143 if number == signal.SIGTERM else -2)  # KeyboardInterrupt: a command makes it 130

    process = begun("begun")  # a step that takes for ever
    process.send_signal(number)
    heard(process)
    time.sleep(0.5)
    process.send_signal(number)
    said, also = process.communicate()
    assert (said, process.returncode) == ("", status)
    assert "what was not saved is lost" in also


def test_while_there_is_nothing_to_save_the_first_ends_at_once() -> None:
    process = begun()
    process.send_signal(signal.SIGTERM)
    assert "nothing to save" in process.communicate()[1]
    assert process.returncode == 143


def test_two_that_come_together_are_one() -> None:
    process = begun("begun", "steps")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.communicate()[0] == "saved\n"


def test_what_the_shell_has_switched_off_stays_off() -> None:
    process = begun("begun", "steps", before="trap '' INT;")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(signal.SIGTERM)
    assert process.communicate()[0] == "saved\n"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_goes_on_to_the_bit(chain: Chain, tmp_path: Path, number: int, status: int) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(command(chain, whole, "--steps=60"), check=True, capture_output=True)
    process = subprocess.Popen(command(chain, cut, "--steps=60"), stderr=subprocess.PIPE, text=True)
    until_logged(process, cut, 5)
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode == status
    (at,) = re.findall(r"stopped after step (\d+), of which there is a checkpoint; .*--resume goes on", said)
    assert [p.name for p in (cut / "checkpoints").iterdir()] == [at]
    assert int(at) < 60
    assert "Traceback" not in said
    subprocess.run(command(chain, cut, "--steps=60", "--resume"), check=True, capture_output=True)
    assert losses(cut) == losses(whole)


@pytest.mark.slow
def test_several_processes_stop_after_the_same_step(chain: Chain, tmp_path: Path) -> None:
    """One is told; all save one checkpoint and end."""
    both = two_processes(chain, tmp_path / "run", "--steps=400")
    until_logged(both[0], tmp_path / "run", 5)
    both[1].send_signal(signal.SIGTERM)
    said = ended(both, 143)
    steps = {int(n) for text in said for n in re.findall(r"stopped after step (\d+)", text)}
    assert [int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir()] == sorted(steps)
    (at,) = steps
    more = (f"--steps={at + 1}", "--resume", "--resume-with", "steps")
    subprocess.run(command(chain, tmp_path / "run", *more), check=True, capture_output=True)
    assert np.isfinite(losses(tmp_path / "run")[-1]).all()
