"""Raw actions through lerobot's own normaliser and action processor, and through a fit of ours that does as they do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.recorded_copies import write_copies
from fasttok import ActionTokenizer, NormStats
from fasttok.episodes import Episode
from pipelines.recordings.lerobot import LerobotRecordings
from tests.interop.environments import PackageSet, run_inside
from tests.pipelines.recordings.lerobot_chain import build, index, pictures

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(5)


def test_constants_low_is_lerobots_normalisation(
    built: Callable[[str], PackageSet], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    environment = built("lerobot")
    raw = np.cumsum(RNG.normal(0, 0.15, (300, 10, 7)), axis=1) * [90, 2, 0.1, 5, 5, 1, 1] + 3
    raw[:, :, 6] = 0.25  # never moves
    flat = raw.reshape(-1, 7)
    stats = NormStats.fit(flat, constants="low")
    tok = ActionTokenizer.fit(raw, vocab_size=900, stats=stats)
    tok.save(tmp_path / "tok")
    q01, q99 = (np.quantile(flat, share, axis=0) for share in (0.01, 0.99))
    moves = np.arange(7) < 6
    assert np.allclose(np.array(stats.q01)[moves], q01[moves], rtol=1e-2)
    q01[moves], q99[moves] = np.array(stats.q01)[moves], np.array(stats.q99)[moves]
    np.savez(tmp_path / "chunks.npz", actions=raw, q01=q01, q99=q99)
    run_inside(environment, "use_lerobot.py", tmp_path / "tok", tmp_path / "chunks.npz", tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["lowest"][6] == -1
    assert found["ids"] == [row.tolist() for row in tok.encode(raw)]
    record_property(
        "checked", "--constants low: 300 of 300 raw chunks token-equal to lerobot's normaliser and processor"
    )


def test_a_set_that_lerobot_writes_becomes_shards(
    built: Callable[[str], PackageSet], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The same as the set in tests/pipelines/recordings/lerobot_v3, written anew."""
    lengths = (40, 33, 25, 30)
    actions = [np.cumsum(RNG.normal(size=(n, 3)), axis=0).astype(np.float32) for n in lengths]
    arrays: dict[str, np.ndarray] = {f"action{i}": a for i, a in enumerate(actions)}
    arrays["count"] = np.array(len(lengths))
    np.savez(tmp_path / "episodes.npz", **arrays)  # type: ignore[arg-type]
    run_inside(built("lerobot"), "write_lerobot.py", tmp_path / "robot", tmp_path / "episodes.npz")
    index(tmp_path / "robot", tmp_path / "index")
    reader = build(tmp_path / "index", tmp_path / "shards", 128)
    assert [said for said, _ in pictures(reader)] == [seen for _, seen in pictures(reader)]
    for row in map(reader.row, range(128)):
        _, _, episode, step, _ = row["sample_id"].rsplit("/", 4)
        assert np.array_equal(np.asarray(row["action"], np.float32).reshape(5, 3)[0], actions[int(episode)][int(step)])
    record_property(
        "checked", "a v3.0 set that lerobot wrote: 128 of 128 rows have the picture and the action of their step"
    )


def test_lerobots_conversion_of_a_real_set_has_the_same_episodes(
    built: Callable[[str], PackageSet],
    shared_data: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """v2.1, an AV1 file an episode, and v3.0, one file for all: the same actions and the same pixels."""
    source = shared_data / "lerobot" / "g1_bottle"
    if not source.exists():
        pytest.skip("the shared LeRobot folder is not here")
    write_copies(source, tmp_path / "two", 1)
    shutil.copytree(tmp_path / "two", tmp_path / "three")
    run_inside(built("lerobot"), "convert_lerobot.py", tmp_path / "three")
    old, new = (episodes(tmp_path / name) for name in ("two", "three"))
    assert len(old) == len(new) == 14
    compared = 0
    for one, other in zip(old, new, strict=True):
        assert np.array_equal(np.asarray(one.steps["action"]), np.asarray(other.steps["action"]))
        (camera,) = one.frames
        some = np.array([0, one.length // 2, one.length - 1])
        for a, b in zip(one.frames[camera].take(some).read(), other.frames[camera].take(some).read(), strict=True):
            assert isinstance(a, np.ndarray)
            assert np.array_equal(a, np.asarray(b))
            compared += 1
    record_property(
        "checked", f"lerobot's conversion of a real v2.1 set to v3.0: {compared} of {compared} frames equal"
    )


def episodes(folder: Path) -> list[Episode]:
    recordings = LerobotRecordings(str(folder))
    parts = recordings.sections()["train"]
    return [found for part in parts for found in recordings.read(part, False) if isinstance(found, Episode)]
