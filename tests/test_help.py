"""--help answers at once: nothing that computes is imported for it, which a fresh interpreter's modules prove."""

import subprocess
import sys

import pytest

COMPUTES = (
    "numpy",
    "scipy",
    "numba",
    "tokenizers",
    "pyarrow",
    "fsspec",
    "h5py",
    "PIL",
    "tensorflow",
    "apache_beam",
    "jax",
    "torch",
)
"""What takes a tenth of a second or more to import, or brings something that does."""
SCRIPT = """
import sys
from {module} import {function}
sys.argv = [{name!r}, *{words!r}]
try:
    {function}()
except SystemExit as end:
    status = end.code
print("imported:", *[name for name in {names!r} if name in sys.modules], file=sys.stderr)
sys.exit(status)
"""
SCRIPTS = {"fasttok": ("fasttok.cli", "main"), "fasttok-mixtures": ("mixtures.__main__", "script")}
VERBS = {
    "fasttok": ("fit", "eval", "encode", "decode", "inspect", "info"),
    "fasttok-mixtures": ("list", "show", "explain"),
}
HELP = [(name, words) for name, verbs in VERBS.items() for words in ("--help", *(f"{verb} --help" for verb in verbs))]


def run(name: str, words: str, names: tuple[str, ...] = COMPUTES) -> tuple[str, set[str]]:
    """What a console script printed, and which of `names` it imported for that."""
    module, function = SCRIPTS[name]
    code = SCRIPT.format(module=module, function=function, name=name, words=words.split(), names=names)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout, set(result.stderr.splitlines()[-1].removeprefix("imported:").split())


@pytest.mark.parametrize(("name", "words"), HELP, ids=[f"{name} {words}" for name, words in HELP])
def test_help_imports_nothing_that_computes(name: str, words: str) -> None:
    page, imported = run(name, words)
    assert imported == set()
    assert "example" in page.lower()


def test_the_check_can_fail() -> None:
    """Help needs tyro, so that a check for it finds it."""
    assert run("fasttok", "fit --help", ("tyro", "numpy"))[1] == {"tyro"}
