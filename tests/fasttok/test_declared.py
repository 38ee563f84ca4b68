"""What a source declares is compared with what is found: a difference is a counted reject, never silence."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fasttok.episodes import open_episodes
from fasttok.episodes.order import time_fault
from fasttok.errors import InputError
from tests.chain import Chain

STEPS, HZ = 15, 10


def write_lerobot(root: Path, episodes: int = 8, **info: Any) -> Path:
    """A v2 folder of equally long episodes, a file each."""
    (root / "meta").mkdir(parents=True)
    (root / "data" / "chunk-000").mkdir(parents=True)
    declared = {"codebase_version": "v2.1", "robot_type": "arm", "fps": HZ, "total_episodes": episodes}
    (root / "meta" / "info.json").write_text(json.dumps(declared | info))
    for number in range(episodes):
        write_episode(root, number)
    return root


def write_episode(root: Path, number: int, keep: Any = slice(None), times: Any = None) -> None:
    times = np.arange(STEPS) / HZ if times is None else times
    action = np.random.default_rng(number).normal(size=(STEPS, 2))
    table = pa.table(
        {
            "episode_index": np.full(STEPS, number)[keep],
            "frame_index": np.arange(STEPS)[keep],
            "timestamp": np.asarray(times, np.float32)[keep],
            "action": action[keep].tolist(),
        }
    )
    pq.write_table(table, root / "data" / "chunk-000" / f"episode_{number:06d}.parquet")


def read(root: Path, split: str = "train") -> tuple[list[int], dict[str, int], str]:
    source = open_episodes(str(root), split)
    numbers = [episode.metadata["episode"] for episode in source]
    return numbers, dict(source.bad), str(source.first_bad)


def test_missing_episodes_are_counted(tmp_path: Path) -> None:
    root = write_lerobot(tmp_path / "a", splits={"train": "0:6", "val": "6:8"})
    for number in (1, 4, 7):
        (root / "data" / "chunk-000" / f"episode_{number:06d}.parquet").unlink()
    numbers, bad, says = read(root)
    assert (numbers, bad) == ([0, 2, 3, 5], {"missing": 2})
    assert "6 episodes are declared, 2 of them are not in data/: 1, 4" in says
    assert read(root, "val")[:2] == ([6], {"missing": 1})


def test_episodes_that_are_not_declared_are_counted(tmp_path: Path) -> None:
    root = write_lerobot(tmp_path / "a", episodes=8, total_episodes=5)
    numbers, bad, says = read(root)
    assert (numbers, bad) == ([0, 1, 2, 3, 4], {"undeclared": 3})
    assert "total_episodes is 5, but data/ also has 5, 6, 7" in says


@pytest.mark.parametrize("version", [2, 3])
def test_lengths_are_compared(tmp_path: Path, version: int) -> None:
    root = write_lerobot(tmp_path / "a")
    rows = [{"episode_index": n, "length": STEPS} for n in range(8)]
    if version == 2:
        (root / "meta" / "episodes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    else:
        (root / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), root / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    write_episode(root, 3, slice(0, STEPS - 4))
    numbers, bad, says = read(root)
    assert (numbers, bad) == ([0, 1, 2, 4, 5, 6, 7], {"frames": 1})
    assert "episode 3: meta/ says 15 steps, there are 11" in says


@pytest.mark.parametrize(
    ("keep", "times", "says"),
    [
        (np.delete(np.arange(STEPS), 5), None, "frame 6 follows frame 4"),
        (slice(3, None), None, "the first frame is 3, expected 0"),
        (slice(None), np.arange(STEPS) / HZ + (np.arange(STEPS) > 8), "from 0.8 s to 1.9 s at step 9"),
        (slice(None), np.arange(STEPS) / HZ * 2, "grows by 0.2 s a step, but fps 10 means 0.1 s"),
        (slice(None), np.where(np.arange(STEPS) == 9, 0, np.arange(STEPS) / HZ), "at step 9"),
    ],
)
def test_gaps_are_counted(tmp_path: Path, keep: Any, times: Any, says: str) -> None:
    root = write_lerobot(tmp_path / "a")
    write_episode(root, 2, keep, times)
    numbers, bad, detail = read(root)
    assert (numbers, bad) == ([0, 1, 3, 4, 5, 6, 7], {"frames": 1})
    assert says in detail


def test_time_stamps_may_jitter(tmp_path: Path) -> None:
    root = write_lerobot(tmp_path / "a")
    write_episode(root, 2, times=np.arange(STEPS) / HZ + np.random.default_rng(0).uniform(-0.02, 0.02, STEPS))
    assert read(root)[:2] == (list(range(8)), {})


def test_widths_and_frequencies_are_compared(tmp_path: Path) -> None:
    root = write_lerobot(tmp_path / "a", features={"action": {"shape": [3], "names": ["x", "y", "z"]}})
    assert read(root)[1] == {"features": 8}
    for fps in (0, -5, "fast"):
        write_lerobot(tmp_path / str(fps), fps=fps)
        with pytest.raises(InputError, match="info"):
            read(tmp_path / str(fps))


EPOCH = 1_764_000_000


@pytest.mark.parametrize("origin", [0, EPOCH])
@pytest.mark.parametrize(("unit", "a_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.float64, "datetime64[ns]"])
def test_time_stamps_may_have_any_unit(unit: str, a_second: int, origin: int, kind: Any) -> None:
    if kind != np.float64 and unit == "s":
        return
    if kind == "datetime64[ns]" and unit != "ns":
        return
    step = a_second // 20 if unit != "s" else 1 / 20
    times = origin * a_second + np.arange(30) * step
    assert time_fault(times.astype(kind), 20) == ""
    told = origin or kind != np.float64 or unit == "s"  # without a frequency that fits
    assert (f"{unit} a step" if told else "but fps 30 means") in time_fault(times.astype(kind), 30)
    times[17:] += step
    for hz in (20, None):
        fault = time_fault(times.astype(kind), hz)
        assert "at step 17" in fault
        assert f"expected a step of {step:.4g} {unit if told or hz else 's'}" in fault


def test_whole_time_stamps_of_a_table_are_compared(tmp_path: Path) -> None:
    stamps = EPOCH * 10**9 + np.arange(12) * 50_000_000 + np.random.default_rng(0).integers(-9, 9, 12)
    table = {"episode": [0] * 12, "action": [[1.0, 2.0]] * 12}
    for name, column in (
        ("ns", pa.array(stamps)),
        ("time", pa.array(stamps, pa.timestamp("ns"))),
        ("since", pa.array(stamps - stamps[0], pa.duration("ns"))),
    ):
        pq.write_table(pa.table(table | {"timestamp": column}), tmp_path / f"{name}.parquet")
        assert [e.length for e in open_episodes(str(tmp_path / f"{name}.parquet"))] == [12]
        keep = np.delete(np.arange(12), 5)
        pq.write_table(pa.table(table | {"timestamp": column}).take(keep), tmp_path / f"{name}.parquet")
        source = open_episodes(str(tmp_path / f"{name}.parquet"))
        assert list(source) == []
        assert "at step 5, expected a step of 5e+07 ns" in str(source.first_bad)


def test_files_are_read_by_number(tmp_path: Path) -> None:
    root = write_lerobot(tmp_path / "a", episodes=3)
    data = root / "data" / "chunk-000"
    for number, name in enumerate(("file-998", "file-999", "file-1000")):
        (data / f"episode_{number:06d}.parquet").rename(data / f"{name}.parquet")
    assert read(root)[0] == [0, 1, 2]


def test_robomimic_counts_are_compared(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        for number in range(4):
            file[f"data/demo_{number}/actions"] = np.zeros((STEPS, 2))
            file[f"data/demo_{number}"].attrs["num_samples"] = STEPS if number != 2 else STEPS + 3
        file["data"].attrs["num_demos"] = 6
        file["mask/valid"] = np.array([b"demo_3", b"demo_10"])
    source = open_episodes(str(tmp_path / "x.hdf5"))
    assert [e.where.number for e in source] == [0, 1, 3]
    assert source.bad == {"frames": 1, "missing": 2}
    source = open_episodes(str(tmp_path / "x.hdf5"), "valid")
    assert [e.where.number for e in source] == [3]
    assert "such as demo_10" in str(source.first_bad)


def test_an_index_whose_tables_lack_rows_is_refused(chain: Chain, tmp_path: Path) -> None:
    index = tmp_path / "index"
    shutil.copytree(chain.index, index)
    tables = sorted(index.glob("*/train/*.episodes.parquet"))[0]
    rows = pq.read_table(tables)
    pq.write_table(rows.slice(0, len(rows) - 1), tables)
    with pytest.raises(InputError, match="run the index job again"):
        list(open_episodes(str(index)))
    steps = tables.with_name(tables.name.replace(".episodes.", ".steps."))
    table = pq.read_table(steps)
    pq.write_table(table.slice(0, len(table) - rows["steps"][-1].as_py()), steps)  # both lack an episode
    with pytest.raises(InputError, match=r"index.json says .* episodes of .*, its tables have"):
        list(open_episodes(str(index)))


def test_a_real_folder_is_as_declared(shared_data: Path) -> None:
    folder = shared_data / "lerobot" / "g1_bottle"
    if not folder.exists():
        pytest.skip("the real LeRobot folder is not on this machine")
    source = open_episodes(str(folder))
    assert sum(1 for _ in source) == source.count == 100
    assert not source.bad
