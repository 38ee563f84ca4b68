"""Shell completion: the scripts complete verbs, flags, choices and names of all commands, in a real bash."""

import importlib
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from fasttok.common.completion import FLAG, is_asked
from fasttok.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    "fasttok": "fasttok.cli.commands:main",
    "fasttok-pipelines": "pipelines.commands:main",
    "fasttok-mixtures": "mixtures.commands:main",
    "fasttok-train": "train.command:main",
    "fasttok-evaluate": "train.evaluate:command",
    "fasttok-export": "train.exports.command:main",
    "fasttok-serve": "train.serving.command:command",
    "fasttok-study": "train.study.command:command",
}
ASK = """
{script}
for words in {lines}; do
  COMP_WORDS=($words); [[ $words == *" " ]] && COMP_WORDS+=("")
  COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=(); {function}; echo "${{COMPREPLY[*]}}"
done
"""
CASES = {
    "fasttok fi": "fit",
    "fasttok fit --mode ": "native published fixed",
    "fasttok fit --norm": "--normalize",
    "fasttok fit ": "",
    "fasttok fit --out ": "",
    "fasttok --v": "--version",
    "fasttok-pipelines st": "statistics stats",
    "fasttok-pipelines datasets ": "list show draft",
    "fasttok-pipelines datasets show bridge_dat": "bridge_data_msr bridge_dataset",
    "fasttok-pipelines build dem": "demo",
    "fasttok-pipelines build demo --fit-constants = z": "zero",
    "fasttok-mixtures explain ki": "ki",
    "fasttok-train --preset pi0_": "pi0_fast",
    "fasttok-train --size ": "debug small paligemma_3b_300m",
    "fasttok-train --model.rec": "--model.recipe",
    "fasttok-train repo": "report",
    "fasttok-train report --ov": "--overwrite",
    "fasttok-evaluate --decode ": "flow tokens",
    "fasttok-evaluate replay --epi": "--episode",
    "fasttok-export --run x --layout o": "openpi",
    "fasttok-serve --keys dr": "droid droid_joint_velocity",
    "fasttok-study run pres": "presets",
    "fasttok-study ": "run list figure",
}


def script(command: str, shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints for a shell."""
    module, function = MODULES[command].split(":")
    getattr(importlib.import_module(module), function)([FLAG, shell])
    return capsys.readouterr().out


def test_every_console_script_is_asked() -> None:
    assert set(MODULES) == set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"])


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("command", MODULES)
def test_bash_completes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [line for line in CASES if line.split()[0] == command]
    assert asked
    lines, function = " ".join(f"'{line}'" for line in asked), "_" + command.replace("-", "_")
    program = ASK.format(script=script(command, "bash", capsys), lines=lines, function=function)
    answered = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert answered.stderr == ""
    assert dict(zip(asked, answered.stdout.splitlines(), strict=True)) == {line: CASES[line] for line in asked}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
@pytest.mark.parametrize("command", MODULES)
def test_the_script_of_another_shell_is_valid(command: str, shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(command, shell, capsys)
    assert text.startswith(f"# Completion of {command} for {shell}, written by: {command} {FLAG} {shell}\n")
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n", "/dev/stdin"], input=text, text=True, check=True)


def test_an_unknown_shell_is_refused() -> None:
    from fasttok.cli.commands import main

    with pytest.raises(InputError, match="unknown shell 'basch'; did you mean 'bash'"):
        main([FLAG, "basch"])
    with pytest.raises(InputError, match="takes one shell"):
        main([FLAG])
    assert not is_asked(["fit", FLAG])
