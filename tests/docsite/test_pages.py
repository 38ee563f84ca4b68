"""The pages that the site makes: of the API, and of the command line."""

import re
from pathlib import Path

import pytest

from docsite import commands, names
from fasttok.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def test_every_public_name_has_a_section_on_one_page() -> None:
    sections = re.findall(r"^::: (\S+)$", "\n".join(names.pages(ROOT).values()), re.MULTILINE)
    assert sorted(sections) == sorted(names.public((ROOT / "docs" / "api.md").read_text(encoding="utf-8")))


def test_every_console_script_is_on_the_page_of_the_command_line() -> None:
    assert commands.VERBS.keys() == commands.scripts(ROOT).keys()


def test_every_verb_is_on_it() -> None:
    from mixtures.commands import VERBS as MIXTURES
    from pipelines.commands import VERBS as PIPELINES

    assert {verb.split()[0] for verb in commands.VERBS["fasttok-pipelines"] if verb} == set(PIPELINES)
    assert set(commands.VERBS["fasttok-mixtures"]) == {"", *MIXTURES}


def test_help_is_what_the_command_prints() -> None:
    said = commands.help_of(ROOT, "fasttok", "info")
    assert said.startswith("usage: fasttok info")
    assert max(map(len, said.splitlines())) <= int(commands.WIDTH)


def test_a_help_that_fails_is_an_error() -> None:
    with pytest.raises(InputError, match=r"`fasttok-pipelines nonsense --help` ended with"):
        commands.help_of(ROOT, "fasttok-pipelines", "nonsense")


@pytest.mark.slow
def test_no_help_offers_the_word_none() -> None:
    """A flag that may be left out is optional; its help does not say "{None}|PATH" or "(default: None)"."""
    lines = commands.page(ROOT).splitlines()
    assert "fasttok-study list" in "\n".join(lines)
    assert [line for line in lines if re.search(r"default: None|\{None|\bNone\|", line)] == []
