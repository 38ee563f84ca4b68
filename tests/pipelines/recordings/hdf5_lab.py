"""An HDF5 layout that only an entry can explain."""

from pathlib import Path

import pytest

from tests.fasttok import hdf5_files as made

h5py = pytest.importorskip("h5py")
ENTRY = """
name: lab
kind: robot
format: hdf5
control_hz: 10
cameras: {primary: cams/top}
language: language
action: [{from: cmd}]
hdf5: {episodes: "runs/*", length: cmd, language: "@task text"}
"""


def lab(folder: Path, entry: str = ENTRY) -> Path:
    """A layout that only an entry can explain."""
    folder.mkdir()
    (folder / "dataset.yaml").write_text(entry)
    with h5py.File(folder / "lab.h5", "w") as file:
        file.attrs["task text"] = "stack the cups"
        for n, pictures in enumerate(made.PICTURES):
            file[f"runs/r{n}/cmd"] = made.ACTIONS[n]
            file[f"runs/r{n}/cams/top"] = pictures
    return folder
