"""The tokenizer, the pipelines and the doctor read one folder as one format."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from fasttok.actions.dataset import ChunkConfig, Dataset
from fasttok.actions.embodiment_actions import EmbodimentActions
from fasttok.episodes import open_episodes
from fasttok.episodes.formats import format_of
from fasttok.errors import InputError
from pipelines.check.open_dataset import open_dataset
from pipelines.index.run import run_index
from tests.fasttok import hdf5_files as made
from tests.pipelines.recordings.every_format import index_config, write_all


def _put(folder: Path, what: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if what == "npz":
        np.savez(folder / "a.npz", action=np.ones((5, 2), np.float32))
    elif what == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        rows = {"episode": [0, 0, 1], "action": [[0.0, 1.0]] * 3}
        pq.write_table(pa.table(rows), folder / "a.parquet")
    elif what == "questions":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"question": ["what?"]}), folder / "q.parquet")
    elif what == "hdf5":
        made.robomimic(folder / "a.h5")


KINDS = ("", "npz", "parquet", "questions", "hdf5")


@pytest.mark.parametrize(("outer", "inner"), itertools.product(KINDS, KINDS))
def test_all_agree(tmp_path: Path, outer: str, inner: str) -> None:
    pytest.importorskip("h5py")
    _put(tmp_path / "set", outer)
    _put(tmp_path / "set" / "within", inner)
    expected = {"npz": "tables", "parquet": "tables", "hdf5": "hdf5"}.get(outer) or (
        "hdf5" if inner == "hdf5" else None
    )
    assert format_of(str(tmp_path / "set")) == expected
    if expected is None and outer != "questions":
        with pytest.raises(InputError):
            open_episodes(str(tmp_path / "set"))
        return
    by_doctor = open_dataset(str(tmp_path / "set"))
    assert by_doctor.form == ("HDF5" if expected == "hdf5" else outer.replace("questions", "parquet"))
    said = [list(open_episodes(str(tmp_path / "set")).records()), list(by_doctor.read("train"))]
    ours, doctors = ([(type(record), record.where.file, record.where.number) for record in records] for records in said)
    assert ours == doctors
    assert ours


def test_a_fit_of_a_folder_and_of_its_index_hold_out_the_same_episodes(tmp_path: Path) -> None:
    datasets = (*write_all(tmp_path)[:3], str(made.controlled(tmp_path / "robots" / "7" / "demo.hdf5").parents[1]))
    run_index(index_config(datasets, tmp_path / "index"), [])
    config = ChunkConfig(horizon=4, embodiments="apart")
    with Dataset(open_episodes(str(tmp_path / "index")), config, every=True) as data:
        indexed = {name: lots(group) for name, group in data.groups.items()}
    assert set(indexed) == {"two", "three", "tables", "robots"}
    for path in datasets:
        with Dataset(open_episodes(path), config, every=True) as data:
            (group,) = data.groups.values()
            assert lots(group) == indexed[Path(path).name]
            assert len(set(lots(group).values())) == len(lots(group)) > 1


def lots(group: EmbodimentActions) -> dict[str, float]:
    """File and episode -> lot, which decides whether it is held out."""
    return {place.name: place.lot for place in group.places["held_out"]}
