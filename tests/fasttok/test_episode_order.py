"""Shapes and orders that are not one episode, step after step, are sorted where that is unambiguous, else refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fasttok.actions.dataset import ChunkConfig, Dataset
from fasttok.episodes import Episode, open_episodes
from fasttok.errors import InputError

RNG = np.random.default_rng(0)
STACK = RNG.normal(size=(5, 12, 3)).astype(np.float32)


def read(path: Path) -> list[Episode]:
    return list(open_episodes(str(path)))


def columns(**more: Any) -> dict[str, Any]:
    n, steps = STACK.shape[:2]
    return {
        "episode_index": np.repeat(np.arange(n), steps),
        "frame_index": np.tile(np.arange(steps), n),
        "action": STACK.reshape(n * steps, -1),
    } | more


def write_parquet(path: Path, rows: dict[str, Any], order: Any = slice(None)) -> Path:
    def listed(values: Any) -> Any:
        values = np.asarray(values)[order]
        return values.tolist()

    pq.write_table(pa.table({name: listed(values) for name, values in rows.items()}), path, row_group_size=7)
    return path


@pytest.mark.parametrize("key", ["action", "actions"])
def test_stacked_arrays_are_an_episode_each(tmp_path: Path, key: str) -> None:
    arrays: dict[str, Any] = {key: STACK, "gripper": STACK[..., :1], "robot": np.array("arm")}
    np.savez(tmp_path / "x.npz", **arrays)
    found = read(tmp_path / "x.npz")
    assert [np.array_equal(f.steps["action"], e) for f, e in zip(found, STACK, strict=True)] == [True] * 5
    assert np.array_equal(found[2].steps["gripper"], STACK[2, :, :1])
    assert found[0].metadata["robot"] == "arm"


def test_padding_that_lengths_tell_is_cut_off(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", actions=STACK, lengths=np.array([12, 3, 1, 12, 7]))
    found = read(tmp_path / "x.npz")
    assert [e.length for e in found] == [12, 3, 1, 12, 7]
    assert np.array_equal(found[4].steps["action"], STACK[4, :7])
    np.savez(tmp_path / "y.npz", actions=STACK, lengths=np.array([13, 3, 1, 12, 7]))
    with pytest.raises(InputError, match="at most 12"):
        read(tmp_path / "y.npz")


def test_padding_after_a_marked_end_is_read_if_lengths_tell_it(tmp_path: Path) -> None:
    lengths = np.array([12, 3, 1, 12, 7])
    dones = np.arange(12) == lengths[:, None] - 1
    np.savez(tmp_path / "x.npz", actions=STACK, lengths=lengths, dones=dones)
    assert [e.length for e in read(tmp_path / "x.npz")] == lengths.tolist()


def test_missing_frames_of_stacked_arrays_are_counted(tmp_path: Path) -> None:
    frames = np.tile(np.arange(12), (5, 1))
    frames[3, 6:] += 4
    np.savez(tmp_path / "x.npz", actions=STACK, frame_index=frames)
    source = open_episodes(str(tmp_path / "x.npz"))
    assert [e.where.number for e in source] == [0, 1, 2, 4]
    assert source.bad == {"frames": 1}
    assert "episode 3: frames: frame 10 follows frame 5" in str(source.first_bad)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".parquet"])
def test_what_macos_leaves_beside_a_table_is_no_table(tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        write_parquet(tmp_path / "x.parquet", columns())
    elif suffix == ".npz":
        np.savez(tmp_path / "x.npz", actions=STACK)
    else:
        np.save(tmp_path / "x.npy", STACK)
    (tmp_path / f"._x{suffix}").write_bytes(b"\0\5\x16\7")
    source = open_episodes(str(tmp_path))
    assert len(list(source)) == 5
    assert not source.bad


def test_tables_of_a_second_kind_are_not_read_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.savez(tmp_path / "x.npz", actions=STACK)
    assert len(read(tmp_path)) == 5
    assert caplog.text == ""
    write_parquet(tmp_path / "x.parquet", columns())
    assert len(read(tmp_path)) == 5
    assert "has .npz files, which are read, and 1 .parquet files, which are not" in caplog.text


def test_unsigned_frames_are_ordered(tmp_path: Path) -> None:
    rows = columns(frame_index=np.tile(np.arange(12, dtype=np.uint8), 5))
    table = pa.table(
        {k: np.asarray(v)[::-1].tolist() if k == "action" else np.asarray(v)[::-1] for k, v in rows.items()}
    )
    pq.write_table(table, tmp_path / "x.parquet")
    found = {e.metadata["episode"]: e.steps["action"] for e in read(tmp_path / "x.parquet")}
    assert all(np.array_equal(found[n], e) for n, e in enumerate(STACK))


def test_rows_of_different_widths_name_their_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"episode": [0, 0], "action": [[1.0], [1.0, 2.0]]}), tmp_path / "x.parquet")
    source = open_episodes(str(tmp_path / "x.parquet"))
    assert list(source) == []
    assert "column 'action': rows of different shapes, (1,) and (2,)" in str(source.first_bad)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"action": STACK[None]}, r"shape \(1, 5, 12, 3\), expected \(T, D\)"),
        ({"action": STACK[0], "actions": STACK}, "both 'action'"),
        ({"action": STACK[0], "timeouts": np.arange(12) == 5}, "'timeouts' marks 1 end.*at step 5"),
        ({"action": STACK[0], "terminals": np.arange(12) % 4 == 3}, "'terminals' marks 2 end"),
        ({"action": STACK[0], "is_first": np.arange(12) % 6 == 0}, "'is_first' marks 1 more"),
        ({"action": STACK[0], "episode": np.arange(12) // 6}, "'episode' has 2 values"),
        ({"action": STACK[0], "traj_id": np.arange(12) // 6}, "'traj_id' has 2 values"),
        ({"action": STACK, "dones": np.arange(60).reshape(5, 12) == 29}, "'dones' marks 1 end.*at step 5.*'lengths'"),
        (
            {"actions": STACK, "is_first": np.arange(60).reshape(5, 12) % 6 == 0},
            "'is_first' marks 1 more.*row of actions",
        ),
    ],
)
def test_an_npz_of_several_episodes_in_a_row_is_refused(tmp_path: Path, arrays: dict[str, Any], says: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(InputError, match=says):
        read(tmp_path / "x.npz")


def test_marks_of_one_end_are_one_episode(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", action=STACK[0], done=np.arange(12) >= 9, episode=np.full(12, 4))
    assert [e.length for e in read(tmp_path / "x.npz")] == [12]


@pytest.mark.parametrize("seed", range(6))
def test_rows_in_any_order_are_sorted_by_episode_and_frame(tmp_path: Path, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(STACK.shape[0] * STACK.shape[1])
    if seed == 0:  # episodes in a row, the steps of each backwards
        order = np.arange(60).reshape(5, 12)[:, ::-1].reshape(-1)
    if seed == 1:  # interleaved
        order = np.arange(60).reshape(5, 12).T.reshape(-1)
    found = read(write_parquet(tmp_path / "x.parquet", columns(), order))
    assert [np.array_equal(f.steps["action"], e.astype(np.float64)) for f, e in zip(found, STACK, strict=True)] == [
        True
    ] * 5


@pytest.mark.parametrize("twin", ["episode_index", "action"])
def test_columns_of_one_name_are_refused(tmp_path: Path, twin: str) -> None:
    table = pq.read_table(write_parquet(tmp_path / "x.parquet", columns()))
    pq.write_table(table.append_column(twin, table[twin]), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=f"x.parquet has several columns called '{twin}'"):
        read(tmp_path / "x.parquet")


def test_an_order_that_nothing_tells_is_refused(tmp_path: Path) -> None:
    order = RNG.permutation(60)
    rows = columns()
    del rows["frame_index"]
    with pytest.raises(InputError, match="do not follow each other, and no column numbers"):
        read(write_parquet(tmp_path / "a.parquet", rows, order))
    twice = columns(episode_index=np.tile(np.repeat(np.arange(2), 12), 3)[:60])
    with pytest.raises(InputError, match="several recordings with the same numbers"):
        read(write_parquet(tmp_path / "b.parquet", twice))
    holes = columns(episode_index=[None if i == 30 else i // 12 for i in range(60)])
    with pytest.raises(InputError, match="rows without a value"):
        read(write_parquet(tmp_path / "c.parquet", holes))


def test_an_episode_that_crosses_files_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", columns(), slice(0, 30))
    write_parquet(tmp_path / "b.parquet", columns(), slice(30, 60))
    with pytest.raises(InputError, match="begins with frame_index 6 of episode_index 2"):
        read(tmp_path)


def test_missing_frames_and_gaps_in_time_are_counted(tmp_path: Path) -> None:
    keep = np.delete(np.arange(60), [17])
    source = open_episodes(str(write_parquet(tmp_path / "a.parquet", columns(), keep)))
    assert [e.metadata["episode"] for e in source] == [0, 2, 3, 4]
    assert source.bad == {"frames": 1}
    assert "frame 6 follows frame 4" in str(source.first_bad)
    times = np.tile(np.arange(12) / 10, 5)
    times[42:48] += 0.3
    source = open_episodes(str(write_parquet(tmp_path / "b.parquet", columns(timestamp=times))))
    assert [e.metadata["episode"] for e in source] == [0, 1, 2, 4]
    assert "from 0.5 s to 0.9 s at step 6" in str(source.first_bad)


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ([[[1.0, 2.0], [3.0, 4.0]]] * 4, r"shape \(4, 2, 2\), expected \(T, D\)"),
        ([[[1.0], [3.0]]] * 4, r"shape \(4, 2, 1\)"),
        ([{"x": 1.0, "y": 2.0}] * 4, "contains dict values"),
        ([[]] * 4, r"shape \(4, 0\)"),
        ([[1.0, None]] * 4, "expected D numbers"),
        (["left"] * 4, "contains bytes"),
    ],
)
def test_columns_that_are_no_rows_of_numbers_are_refused(tmp_path: Path, action: list[Any], says: str) -> None:
    pq.write_table(pa.table({"episode": [0] * 4, "action": action}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=says):
        Dataset(open_episodes(str(tmp_path / "x.parquet")), ChunkConfig(horizon=2))


def test_hdf5_of_stacked_episodes_is_a_reject_that_says_how_to_write_them(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["actions"] = STACK
    source = open_episodes(str(tmp_path / "x.hdf5"))
    assert list(source) == []
    assert "shape (5, 12, 3), expected (T, D): a row of D numbers per step; write several" in str(source.first_bad)
