"""Every option of fasttok-train stands once in --help and in docs/options.md, and says when to use it."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from train import options
from train.presets import KI, get_preset

PAGE = Path(__file__).parents[2] / "docs" / "options.md"


def flags(config: Any, prefix: str = "") -> list[str]:
    found = []
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        found += flags(value, f"{name}.") if dataclasses.is_dataclass(value) else [name.replace("_", "-")]
    return found


def test_each_option_stands_once_and_says_when_to_use_it() -> None:
    shown = [option for group in options.options(KI) for option in group.options]
    assert Counter(option.flag for option in shown) == Counter(flags(KI)), "put new options into options.GROUPS"
    assert [option.flag for option in shown if len(option.when) < 12] == []
    assert len(options.FIRST) == 20


def test_the_page_is_that_of_the_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == options.page(), "run: python -m train.options > docs/options.md"


def test_help_shows_the_defaults_of_preset_and_size(capsys: pytest.CaptureFixture[str]) -> None:
    from train.command import main

    main(["--help", "--size", "small", "--preset", "joint"])
    said = " ".join(capsys.readouterr().out.split())
    assert f"(default: {get_preset('joint', 'small').model.width})" in said
    assert "(default: 384)" in said
    assert said.index("--shards") < said.index("--dry-run") < said.index("--accumulate") < said.index("--model.width")
    assert said.count("--optim.ema") == 1
