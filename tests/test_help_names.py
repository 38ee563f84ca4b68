"""Help names what is required, and lists choices where they are asked for."""

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import tyro

from fasttok.cli.commands import VERBS as FASTTOK
from fasttok.common.completion import MARKER
from mixtures.commands import VERBS as MIXTURES
from pipelines.completed_verbs import completed_verbs
from train import options, presets, recipes
from train.config import TrainConfig
from train.evaluate import EvaluateConfig
from train.exports.export_config import ExportConfig
from train.replay.command import ReplayConfig
from train.report.command import ReportConfig
from train.serving.serve_config import ServeConfig
from train.study.command import ListStudiesConfig, StudyConfig
from train.study.figure_command import FigureConfig

CONFIGS: list[type[Any]] = [
    *FASTTOK.values(),
    *(kind for kind, _ in MIXTURES.values()),
    *(verb.config for verb in completed_verbs().values()),
    *(
        EvaluateConfig,
        ReplayConfig,
        ExportConfig,
        ServeConfig,
        ReportConfig,
        StudyConfig,
        ListStudiesConfig,
        FigureConfig,
    ),
]


def positionals(config: type[Any]) -> list[tuple[str, tuple[Any, ...]]]:
    """Names of a command's arguments, and what is said of each beside its type."""
    found = []
    for name, hint in get_type_hints(config, include_extras=True).items():
        said: tuple[Any, ...] = ()
        while get_origin(hint) is Annotated:
            said, hint = (*said, *get_args(hint)[1:]), get_args(hint)[0]
        if MARKER in said:
            found.append((name, said))
    return found


@pytest.mark.parametrize("config", [*CONFIGS, TrainConfig], ids=lambda config: config.__name__)
def test_empty_defaults_are_not_printed(config: type[Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tyro.cli(config, args=["--help"], prog="command")
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "(default: )" not in said


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_arguments_have_names(config: type[Any], capsys: pytest.CaptureFixture[str]) -> None:
    names = [one.metavar for _, said in positionals(config) for one in said if getattr(one, "metavar", None)]
    assert len(names) == len(positionals(config))
    with pytest.raises(SystemExit):
        tyro.cli(config, args=["--help"], prog="command")
    usage = capsys.readouterr().out.partition("\n\n")[0]
    assert all(name.split()[0] in usage for name in names)


def test_some_commands_have_arguments() -> None:
    assert sum(bool(positionals(config)) for config in CONFIGS) > 12


def test_choices_of_fasttok_train_are_listed() -> None:
    shown = {option.flag: option.values for group in options.options(presets.KI) for option in group.options}
    assert shown["preset"] == "|".join(presets.PRESETS)
    assert shown["size"] == "|".join(presets.SIZES)
    assert shown["model.recipe"] == "|".join(recipes.NAMES)
    assert "WORD" not in shown["trackers"]


def test_every_field_of_a_command_says_what_it_is() -> None:
    """Each field's docstring is its help."""
    from train.options import _docstrings

    for config in CONFIGS:
        told = {name for name, text in _docstrings(config) if text}
        assert {field.name for field in dataclasses.fields(config)} <= told, config.__name__


def test_the_page_names_every_verb_that_prints_json() -> None:
    page = (Path(__file__).parents[1] / "docs" / "terminal.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\| `(fasttok[\w-]*)` \| (.*) \|$", page, re.MULTILINE))
    takes = {
        "fasttok": {name for name, kind in FASTTOK.items() if has_json(kind)},
        "fasttok-mixtures": {name for name, (kind, _) in MIXTURES.items() if has_json(kind)},
        "fasttok-pipelines": {name for name, verb in completed_verbs().items() if has_json(verb.config)},
    }
    assert {command: set(re.findall(r"`([\w ]+)`", said[command])) for command in takes} == takes
    assert all(
        map(has_json, (EvaluateConfig, ReplayConfig, ExportConfig, StudyConfig, ListStudiesConfig, FigureConfig))
    )
    assert not any(map(has_json, (ServeConfig, ReportConfig, type(presets.KI))))


def has_json(config: type[Any]) -> bool:
    return "json" in {field.name for field in dataclasses.fields(config)}


def test_key_maps_are_listed_in_place() -> None:
    from train.serving.keys import presets as key_maps

    said = get_type_hints(ServeConfig, include_extras=True)["keys"].__metadata__[0].metavar
    assert set(said.split("|")) == {*key_maps(), "FILE.yaml"}
