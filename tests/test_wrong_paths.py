"""A path that is not there is refused before TensorFlow, Beam or JAX is imported, which takes seconds; so for every command."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("tensorflow", "tensorflow_datasets", "apache_beam", "jax", "orbax", "optax", "torch", "transformers")
RUN = """
import sys
from importlib import import_module
from fasttok.common.console import run
for line in sys.stdin.read().splitlines():
    where, *words = line.split()
    module, function = where.split(":")
    command = getattr(import_module(module), function)
    status = run(lambda: command(words))
    print(f"{status} | {' '.join(name for name in HEAVY if name in sys.modules)}", file=sys.stderr)
"""
RUN = f"HEAVY = {HEAVY!r}\n{RUN}"
COMMANDS = {
    "fasttok": {
        "fasttok.cli.commands:main fit nope --out tokenizer": "nope does not exist",
        "fasttok.cli.commands:main eval nope data": "nope is not a tokenizer folder",
        "fasttok.cli.commands:main eval data nope": "nope does not exist",
        "fasttok.cli.commands:main inspect data nope": "nope does not exist",
        "fasttok.cli.commands:main encode nope data.npz --out ids.npz": "nope is not a tokenizer folder",
        "fasttok.cli.commands:main decode nope ids.npz --out actions.npz": "nope is not a tokenizer folder",
        "fasttok.cli.commands:main info nope": "nope is not a tokenizer folder",
        "mixtures.commands:main show nope": "unknown mixture 'nope'",
        "mixtures.commands:main explain nope.yaml": "nope.yaml does not exist",
        "mixtures.commands:main explain demo --index nope": "nope is not a finished INDEX",
    },
    "pipelines": {
        "pipelines.commands:main check nope": "nope does not exist",
        "pipelines.commands:main index nope --out out": "nope does not exist",
        "pipelines.commands:main index nope --out out --direct_num_workers=2": "nope does not exist",
        "pipelines.commands:main index gronp/data --out out": "gronp/data does not exist (did you mean group/data?)",
        "pipelines.commands:main statistics nope": "nope is not a finished INDEX",
        "pipelines.commands:main build demo --index nope --out out --samples 8": "nope is not a finished INDEX",
        "pipelines.commands:main build nope --index data --out out --samples 8": "unknown mixture 'nope'",
        "pipelines.commands:main build demo --index nope --out o --samples 8 --runner=FlinkRunner": "not a finished INDEX",
        "pipelines.commands:main datasets draft nope": "nope",
        "pipelines.commands:main inspect nope": "nope/manifest.json does not exist",
        "pipelines.commands:main stats nope": "nope/manifest.json does not exist",
        "pipelines.commands:main lint nope": "nope/manifest.json does not exist",
    },
    "train": {
        "train.command:main --shards nope --out run": "nope/manifest.json does not exist",
        "train.command:main report nope": "nope is not a run",
        "train.evaluate:command --run nope --env a:b": "nope is not a run",
        "train.evaluate:command replay --run nope --data data": "nope is not a run",
        "train.evaluate:command --policy ws://127.0.0.1:1 --env nope:make": "No module named 'nope'",
        "train.exports.command:main --run nope --out out": "nope is not a run",
        "train.serving.command:command --run nope": "nope is not a run",
        "train.study.command:command run nope --env a:b --data c:d": "unknown study 'nope'",
        "train.study.command:command run presets --env nope:make --data c:d": "No module named 'nope'",
        "train.study.command:command run presets --env math:floor --data nope": "nope has no shards",
        "train.study.command:command figure nope": "nope is not there",
    },
}  # fmt: skip


@pytest.mark.parametrize("package", COMMANDS)
def test_a_typo_costs_no_heavy_import(package: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "group" / "data").mkdir(parents=True)
    lines = COMMANDS[package]
    done = subprocess.run(
        [sys.executable, "-c", RUN], input="\n".join(lines), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    said = done.stderr.split("error: ")[1:]
    assert len(said) == len(lines), done.stderr
    for (line, expected), answer in zip(lines.items(), said, strict=True):
        message, _, outcome = answer.rpartition("\n1 | ")
        assert expected in message, f"{line}: {answer}"
        assert outcome.strip() == "", f"{line} imported {outcome}"


def test_the_check_can_fail(tmp_path: Path) -> None:
    """A command that says something imported: with JAX there, every line names it."""
    done = subprocess.run(
        [sys.executable, "-c", "import jax\n" + RUN], input="train.command:main report nope", cwd=tmp_path, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stderr.rstrip().endswith("1 | jax")
