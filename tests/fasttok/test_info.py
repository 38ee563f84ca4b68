"""`fasttok info`: devices and versions, also where a driver is broken."""

import json
import re
from pathlib import Path

import pytest

from fasttok.cli import info
from fasttok.cli.commands import main
from fasttok.common import machine


@pytest.fixture
def _no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "jax_devices", lambda: "2 x gpu: a card")
    monkeypatch.setattr(machine, "nvidia_gpus", lambda: "a card, 80 GiB, 580.1")


@pytest.mark.usefixtures("_no_devices")
def test_it_names_devices_and_all_versions(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": info.MISSING, "wandb": info.MISSING}
    monkeypatch.setattr(info, "installed_version", lambda package: versions.get(package, "1.2.3"))
    main(["info", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["JAX devices"] == "2 x gpu: a card"
    assert said["NVIDIA driver"] == "a card, 80 GiB, 580.1"
    assert set(info.PACKAGES) < set(said)
    assert said["torch"] == "not installed"
    assert re.fullmatch(r"[\d.]+ GiB", said["memory"])
    main(["info"])
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"not installed\s+torch, wandb", lines[-1].rstrip())
    assert not any(line.startswith(("torch", "wandb")) for line in lines)


def test_a_broken_jax_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "ASK_JAX", "raise SystemExit('CUDA_ERROR_NO_DEVICE')")
    assert machine.jax_devices() == "JAX did not answer: CUDA_ERROR_NO_DEVICE"
    monkeypatch.setattr(machine, "ASK_JAX", 'print(\'a note\'); print(\'[["gpu", "H200"], ["gpu", "H200"]]\')')
    assert machine.jax_devices() == "2 x gpu: H200"
    monkeypatch.setattr(machine, "ASK_JAX", 'print(\'[["cpu", "cpu"]]\')')
    assert machine.jax_devices() == "1 x cpu"
    monkeypatch.setattr(machine, "ASK_JAX", "import time; time.sleep(60)")
    monkeypatch.setattr(machine, "SECONDS", 0.2)
    assert "timed out" in machine.jax_devices()
    monkeypatch.setattr(machine, "find_spec", lambda _: None)
    assert machine.jax_devices() == "JAX is not installed"


def test_the_driver_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.nvidia_gpus() == ""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771 MiB, 580.95'\necho 'NVIDIA H200, 143771 MiB, 580.95'\n")
    tool.chmod(0o755)
    assert machine.nvidia_gpus() == "NVIDIA H200, 143771 MiB, 580.95; NVIDIA H200, 143771 MiB, 580.95"
    tool.write_text("#!/bin/sh\necho 'driver mismatch' >&2\nexit 9\n")
    assert machine.nvidia_gpus() == "driver mismatch"
