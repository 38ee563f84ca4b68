"""A command that computes begins again with glibc's settings, once, with all its words; those of the user win."""

import os
import subprocess
import sys

import pytest

from train.devices.huge_pages import TUNABLES, VARIABLE

PROGRAM = """
import os, sys
from train.devices.huge_pages import begin_again
print("begun", os.getpid(), flush=True)
begin_again()
print(os.environ["GLIBC_TUNABLES"], sys.argv[1:])
"""


def said(**more: str) -> list[str]:
    """Lines of a small program in a process of its own."""
    plain = {key: value for key, value in os.environ.items() if key != VARIABLE}
    words = [sys.executable, "-c", PROGRAM, "two words", "--flag"]
    return subprocess.run(words, env=plain | more, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="only there")
def test_a_process_begins_again_once_with_the_same_words_and_number() -> None:
    first, second, last = said()
    assert first == second
    assert last == f"{TUNABLES} ['two words', '--flag']"


def test_what_the_user_set_stays() -> None:
    first, last = said(**{VARIABLE: ""})
    assert first.startswith("begun")
    assert last == " ['two words', '--flag']"
