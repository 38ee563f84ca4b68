"""Compiled programs are kept where the user's caches are, or where the user says; what cannot be written is no error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from train.devices.jax_setup import FOLDER, SECONDS, SIZE, set_up_jax

PROGRAM = """
from train.devices.jax_setup import set_up_jax
set_up_jax()
import jax, jax.numpy as jnp
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8)))[0, 0])
"""


def computed(**more: str) -> subprocess.CompletedProcess[str]:
    """A small program in a process of its own, in an environment without any of our variables."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XDG_", "TF_CPP"))}
    return subprocess.run([sys.executable, "-c", PROGRAM], env=plain | more, capture_output=True, text=True, check=True)


def test_the_users_words_win(tmp_path: Path) -> None:
    said = {FOLDER: "", SECONDS: "7", "TF_CPP_MIN_LOG_LEVEL": "0", "XDG_CACHE_HOME": str(tmp_path)}
    set_up_jax(environment := dict(said))
    assert environment == said
    assert not list(tmp_path.iterdir())


def test_the_folder_is_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, parent in (({}, tmp_path / ".cache"), ({"XDG_CACHE_HOME": str(tmp_path / "x")}, tmp_path / "x")):
        set_up_jax(environment := dict(given))
        folder = Path(environment[FOLDER])
        assert folder.parent == parent / "fasttok" / "compiled"
        assert folder.stat().st_mode & 0o077 == 0  # nobody else puts programs there
        assert int(environment[SIZE]) == 4 << 30
        assert environment["TF_CPP_MIN_LOG_LEVEL"] == "3"


def test_what_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    set_up_jax(environment := {"XDG_CACHE_HOME": str(tmp_path / "file")})
    assert FOLDER not in environment
    set_up_jax(environment := {"XDG_CACHE_HOME": "relative"})
    assert FOLDER not in environment
    monkeypatch.setattr(os, "access", lambda *_: False)
    set_up_jax(environment := {"XDG_CACHE_HOME": str(tmp_path)})
    assert FOLDER not in environment


def test_a_program_is_kept_and_what_a_kill_left_goes(tmp_path: Path) -> None:
    first = computed(XDG_CACHE_HOME=str(tmp_path))
    (folder,) = (tmp_path / "fasttok" / "compiled").iterdir()
    kept = {p.name for p in folder.glob("*-cache")}
    assert kept
    (folder / "of_a_killed_process-cache").touch()
    again = computed(XDG_CACHE_HOME=str(tmp_path))
    assert again.stdout == first.stdout
    assert {p.name for p in folder.glob("*-cache")} == kept
    assert not first.stderr
    assert not again.stderr


def test_without_a_cache_it_computes_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    plain = computed(XDG_CACHE_HOME=str(tmp_path / "file"))
    off = computed(JAX_COMPILATION_CACHE_DIR="", HOME=str(tmp_path))
    assert plain.stdout == off.stdout
    assert not plain.stderr
    assert not off.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
