"""Statistics of an INDEX: numpy's values, and the same bits however the data were cut into files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fasttok.actions.chunks import chunks_at
from fasttok.actions.normalize import NormStats
from fasttok.actions.quantiles import summarize
from fasttok.common import json_files
from fasttok.episodes import open_episodes
from fasttok.episodes.index_file import IndexFile, open_index
from fasttok.errors import InputError
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from pipelines.index.statistics import dim_statistics, of_chunks, of_index
from pipelines.index.statistics_command import run_statistics
from pipelines.index.statistics_config import StatisticsConfig
from pipelines.index.statistics_file import QUANTILES, DimStatistics
from tests.chain import Chain


def columns(index: Path, dataset: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(action, proprio) of each training episode."""
    episodes = [e for e in open_episodes(str(index)) if e.metadata["dataset"] == dataset]
    return [(np.asarray(e.steps["action"]), np.asarray(e.steps["proprio"])) for e in episodes]


def close(found: dict[str, Any], values: np.ndarray) -> None:
    wide = values.astype(np.float64)
    assert found["q01"] == np.quantile(wide, 0.01, axis=0).tolist()
    assert found["q99"] == np.quantile(wide, 0.99, axis=0).tolist()
    assert found["min"] == wide.min(0).tolist()
    assert found["max"] == wide.max(0).tolist()
    assert np.allclose(found["mean"], wide.mean(0), rtol=1e-12, atol=1e-12)
    assert np.allclose(found["std"], wide.std(0), rtol=1e-9, atol=1e-12)


def test_statistics_are_numpys(chain: Chain) -> None:
    found = json.loads((chain.index / "statistics.json").read_text())
    assert set(found["embodiments"]) == {"planar", "arm"}
    for embodiment, value in found["embodiments"].items():
        held = columns(chain.index, f"tabletop_{embodiment}")
        assert value["count"] == sum(len(action) for action, _ in held)
        close(value["action"], np.concatenate([action for action, _ in held]))
        close(value["proprio"], np.concatenate([proprio for _, proprio in held]))
    assert found["datasets"]["tabletop_arm"]["action"] == found["embodiments"]["arm"]["action"]


def test_statistics_name_dims_that_quantiles_do_not_describe() -> None:
    x = np.zeros((1000, 3))
    x[:5, 1] = 1.0
    x[:, 2] = np.linspace(0, 1, 1000)
    q01, q99 = np.quantile(x, [0.01, 0.99], axis=0)
    columns = {"mean": x.mean(0), "std": x.std(0), "min": x.min(0), "max": x.max(0), "q01": q01, "q99": q99}
    found = DimStatistics(**{name: tuple(values.tolist()) for name, values in columns.items()})
    assert found.normalized_by == ("constant", "min_max", "quantile")
    assert found.dims(slice(1, 3), ["grip", "x"]).normalized_by == ("min_max", "quantile")
    assert found.dims(slice(2, 3), ["x"]).normalized_by == ()
    written = json_files.encode(found)
    assert written["normalized_by"] == ["constant", "min_max", "quantile"]
    assert json_files.decode(DimStatistics, written, "x") == found
    assert DimStatistics().normalized_by == ()


@pytest.mark.parametrize("copies", [1, 10])
def test_statistics_and_a_fit_choose_alike_what_normalises_a_dim(copies: int) -> None:
    """A gripper that trembles and is seldom used: its quantiles are noise, and statistics.json did not say so."""
    x = np.random.default_rng(0).normal(0, 1e-3, (5000, 3)).astype(np.float32)
    x[2000:2020, 1], x[:, 2] = 1.0, np.linspace(0, 1, 5000)
    rows = np.repeat(x, copies, axis=0)
    found = dim_statistics(summarize(lambda: [rows], list(QUANTILES.values())), copies)
    assert found.normalized_by == NormStats.of(lambda: [rows], copies=copies).normalized_by
    assert found.normalized_by == ("quantile", "min_max", "quantile")
    assert found.dims(slice(1, 3), ["grip", "x"]).normalized_by == ("min_max", "quantile")
    assert found.dims(slice(2, 3), ["x"]).normalized_by == ()


def test_statistics_of_relative_chunks(chain: Chain) -> None:
    index = json.loads((chain.index / "index.json").read_text())
    config = StatisticsConfig(str(chain.index), horizon=5, form="relative", rotation="6d")
    arm = of_chunks(config, open_index(str(chain.index))).embodiments["arm"]
    assert arm.form == "relative, 6d rotations"
    encoding = index["datasets"]["tabletop_arm"]["entry"]["action_encoding"]
    parts = []
    for action, proprio in columns(chain.index, "tabletop_arm"):
        chunks = chunks_at(action, np.arange(len(action)), 5, encoding)
        turns = Rotation.from_euler("xyz", chunks[..., 3:6].reshape(-1, 3))
        start = Rotation.from_euler("xyz", np.repeat(proprio[:, 3:6], 5, axis=0))
        matrix = (turns * start.inv()).as_matrix()
        moved = (chunks[..., :3].astype(np.float64) - proprio[:, None, :3]).reshape(-1, 3)
        grip = chunks[..., 6:].reshape(-1, 1)
        parts.append(np.concatenate([moved, matrix[..., 0], matrix[..., 1], grip], axis=1).astype(np.float32))
    assert arm.chunk_steps == sum(map(len, parts))
    close(json_files.encode(arm.action), np.concatenate(parts))


def test_the_same_bits_however_the_data_are_cut(own_data: Path, chain: Chain, tmp_path: Path) -> None:
    folder = own_data / "tabletop_arm" / "1.0.0"
    info = json.loads((folder / "dataset_info.json").read_text())
    for split in info["splits"]:
        files = sorted(folder.glob(f"*-{split['name']}.tfrecord-*"))
        whole = b"".join(file.read_bytes() for file in reversed(files))  # one file, in another order
        for file in files:
            file.unlink()
        (folder / f"tabletop_arm-{split['name']}.tfrecord-00000-of-00001").write_bytes(whole)
        split["shardLengths"] = [str(sum(map(int, split["shardLengths"])))]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    run_index(IndexConfig((str(folder),), str(tmp_path / "index")), [])
    found = json.loads((tmp_path / "index" / "statistics.json").read_text())
    expected = json.loads((chain.index / "statistics.json").read_text())
    assert found["embodiments"]["arm"] == expected["embodiments"]["arm"]


def parsed(index: dict[str, Any]) -> IndexFile:
    return json_files.decode(IndexFile, index, "index.json")


def test_embodiments_of_several_datasets(chain: Chain) -> None:
    index = json.loads((chain.index / "index.json").read_text())
    for name in ("tabletop_planar", "tabletop_arm"):
        index["datasets"][name]["entry"]["embodiment"] = "robot"
    assert of_index(str(chain.index), parsed(index)).embodiments == {}  # other dims: said, and no statistics
    index["datasets"]["tabletop_arm"] = index["datasets"]["tabletop_planar"] | {}
    names = {"tabletop_planar": index["datasets"]["tabletop_planar"]}
    one = of_index(str(chain.index), parsed(index | {"datasets": names})).embodiments["robot"]
    assert one.datasets == ("tabletop_planar",)


def test_of_a_dataset_without_the_split_everything_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    held = {"a": rng.random((30, 2)).astype(np.float32), "b": rng.random((20, 2)).astype(np.float32)}
    for name, folder in (("a", "."), ("b", "val")):
        (tmp_path / name / folder).mkdir(parents=True)
        with h5py.File(tmp_path / name / folder / "x.hdf5", "w") as file:
            file["action"] = file["state"] = held[name]
        (tmp_path / name / "dataset.yaml").write_text(
            f"name: {name}\nkind: robot\nformat: hdf5\ncontrol_hz: 10\ncameras: {{}}\nlanguage: null\n"
            "filters: {language: false}\naction: [{from: action}]\nproprio: [{from: state}]\n"
        )
    run_index(IndexConfig((str(tmp_path / "a"), str(tmp_path / "b")), str(tmp_path / "both")), [])
    run_index(IndexConfig((str(tmp_path / "b"),), str(tmp_path / "only")), [])
    capsys.readouterr()
    for out, names in (("both", ("a", "b")), ("only", ("b",))):
        for seconds in (None, 0.1):  # chunks of one step are the steps
            run_statistics(StatisticsConfig(str(tmp_path / out), seconds=seconds, json=True))
            found = json.loads(capsys.readouterr().out)["embodiments"]
            assert {name: value["count"] for name, value in found.items()} == {n: len(held[n]) for n in names}
            for name in names:
                close(found[name]["action"], held[name])
            run_statistics(StatisticsConfig(str(tmp_path / out), seconds=seconds))
            assert "20 steps of b" in capsys.readouterr().out
        with pytest.raises(InputError, match="unknown split 'test'"):
            run_statistics(StatisticsConfig(str(tmp_path / out), split="test"))


@pytest.mark.parametrize("parts_first", [True, False])
def test_chunks_of_an_embodiment_whose_datasets_get_other_dims_in_this_form_have_no_statistics(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, parts_first: bool
) -> None:
    """Both have 7 columns, and 6d rotations make them 10 and 7: numbers of one were counted as those of the other."""
    h5py = pytest.importorskip("h5py")
    of_hand = "[{from: action, slice: [0, 3]}, {from: action, slice: [3, 6], rotation: euler_xyz}, {from: action, slice: [6, 7]}]"
    actions = {"a": of_hand, "b": "[{from: action}]"} if parts_first else {"a": "[{from: action}]", "b": of_hand}
    for hz, (name, action) in enumerate(actions.items(), 5):
        (tmp_path / name).mkdir()
        with h5py.File(tmp_path / name / "x.hdf5", "w") as file:
            file["action"] = file["state"] = np.random.default_rng(0).random((50, 7)).astype(np.float32)
        (tmp_path / name / "dataset.yaml").write_text(
            f"name: {name}\nkind: robot\nformat: hdf5\nembodiment: franka\ncontrol_hz: {hz}\ncameras: {{}}\nlanguage: null\n"
            f"filters: {{language: false}}\naction: {action}\nproprio: [{{from: state}}]\n"
        )
    run_index(IndexConfig((str(tmp_path / "a"), str(tmp_path / "b")), str(tmp_path / "index")), [])
    index = open_index(str(tmp_path / "index"))
    caplog.set_level("INFO")
    assert of_chunks(StatisticsConfig(str(tmp_path / "index"), seconds=1.0, rotation="6d"), index).embodiments == {}
    assert f"its actions have dims a {10 if parts_first else 7}, b {7 if parts_first else 10}" in caplog.text
    stored = of_chunks(StatisticsConfig(str(tmp_path / "index"), seconds=1.0), index).embodiments["franka"]
    assert stored.chunk_steps == 50 * 5 + 50 * 6
    assert "chunks of the embodiment franka have different numbers of steps: a 5, b 6" in caplog.text


def test_the_command(chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_statistics(StatisticsConfig(str(chain.index)))
    steps = sum(len(action) for action, _ in columns(chain.index, "tabletop_arm"))
    assert f"arm: {steps:,} steps of tabletop_arm" in capsys.readouterr().out
    run_statistics(StatisticsConfig(str(chain.index), seconds=0.5, out=str(tmp_path / "s.json"), json=True))
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "s.json").read_text())
    run_statistics(StatisticsConfig(str(chain.index), seconds=0.5, form="relative", rotation="6d"))
    assert "in chunks of 10, relative, 6d rotations" in capsys.readouterr().out
    with pytest.raises(InputError, match="split 'tain'"):
        run_statistics(StatisticsConfig(str(chain.index), split="tain"))
    with pytest.raises(InputError, match="--horizon"):
        run_statistics(StatisticsConfig(str(chain.index), horizon=0))
    for wrong, said in (
        ({"horizon": 2**63}, "at most 1000000"),
        ({"seconds": -1.0}, "positive"),
        ({"seconds": 0.0}, "positive"),
    ):
        with pytest.raises(InputError, match=said):
            run_statistics(StatisticsConfig(str(chain.index), **wrong))
