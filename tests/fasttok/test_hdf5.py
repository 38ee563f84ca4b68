"""HDF5 of every layout gives the episodes that were written into it, with what the file says of them; nothing is followed out."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fasttok.actions.dataset import ChunkConfig, Dataset
from fasttok.cli.fit import Fit
from fasttok.episodes import Episode, Episodes, open_episodes
from fasttok.episodes.frames import Frame
from fasttok.errors import InputError
from fasttok.tokenizer import ActionTokenizer
from tests.fasttok import hdf5_files as made

WRITERS: dict[str, Callable[[Path], Path]] = {
    "robomimic": lambda root: made.robomimic(root / "lift.hdf5", masks=False),
    "robosuite": lambda root: made.robosuite(root / "demo.hdf5"),
    "aloha": lambda root: made.aloha(root, compress=False),
    "aloha_jpeg": lambda root: made.aloha(root, compress=True),
    "maniskill": lambda root: made.maniskill(root / "trajectory.rgbd.h5"),
    "d4rl": lambda root: made.d4rl(root / "hopper.hdf5"),
    "d4rl_without_timeouts": lambda root: made.d4rl(root / "hopper.hdf5", timeouts=False),
}
NAMES = {
    "robomimic": "obs/agentview_image",
    "aloha": "observations/images/cam_high",
    "aloha_jpeg": "observations/images/cam_high",
    "maniskill": "obs/sensor_data/base_camera/rgb",
}


def opened(path: Path, split: str = "train") -> tuple[list[Episode], Episodes]:
    source = open_episodes(str(path), split)
    return list(source), source


def column(episode: Episode, name: str) -> NDArray[Any]:
    values = episode.steps[name]
    assert isinstance(values, np.ndarray)
    return values


def pixels(frame: Frame) -> NDArray[np.uint8]:
    assert isinstance(frame, np.ndarray)
    return frame


def write(path: Path, **nodes: Any) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, value in nodes.items():
            file[name.replace("__", "/")] = value
    return path


@pytest.mark.parametrize("layout", WRITERS)
def test_a_layout_gives_the_episodes_that_were_written(tmp_path: Path, layout: str) -> None:
    found, source = opened(WRITERS[layout](tmp_path))
    assert not source.bad, source.first_bad
    for episode, actions in zip(found, made.ACTIONS, strict=True):
        written = np.hstack([actions, actions]) if layout.startswith("aloha") else actions
        assert np.array_equal(column(episode, "action"), written.astype(column(episode, "action").dtype))
        assert {len(values) for values in episode.steps.values()} == {len(actions)}
    assert len({episode.where.number for episode in found}) == (1 if layout.startswith("aloha") else 3)


@pytest.mark.parametrize("layout", NAMES)
def test_pictures_are_those_that_were_written_and_read_only_when_asked_for(tmp_path: Path, layout: str) -> None:
    found, _ = opened(WRITERS[layout](tmp_path))
    for episode, pictures in zip(found, made.PICTURES, strict=True):
        frames = episode.frames[NAMES[layout]]
        assert NAMES[layout] not in episode.steps
        assert (len(frames), frames.check()) == (len(pictures), "")
        chosen = np.array([0, 2, 3])
        for wanted, got in ((np.arange(len(pictures)), frames), (chosen, frames.take(chosen))):
            for picture, frame in zip(pictures[wanted], got.read(), strict=True):
                if layout == "aloha_jpeg":
                    assert frame == made.jpeg(picture)
                else:
                    assert np.array_equal(pixels(frame), picture)
        assert frames.take(chosen).size() < frames.size()


def test_robomimic_says_its_frequency_and_its_splits(tmp_path: Path) -> None:
    path = made.robomimic(tmp_path / "lift.hdf5")
    numbers = {split: [e.where.number for e in opened(path, split)[0]] for split in ("train", "valid", "20_percent")}
    assert numbers == {"train": [0, 2], "valid": [1], "20_percent": [2]}
    assert opened(path)[0][0].metadata["control_hz"] == 20
    assert "depth" in opened(path)[0][0].frames["obs/agentview_depth"].check()


def test_libero_is_a_folder_of_folders_whose_attributes_say_the_task_or_else_its_names(tmp_path: Path) -> None:
    found, _ = opened(made.libero(tmp_path / "a"))
    assert [e.metadata["language"] for e in found] == ["kitchen scene3 turn on the stove!"] * 3 + [
        "put the bowl on the plate!"
    ] * 3
    found, _ = opened(made.libero(tmp_path / "b", problem_info=False))
    assert [e.metadata["language"] for e in found] == ["turn on the stove"] * 3 + ["put the bowl on the plate"] * 3
    assert {e.metadata["control_hz"] for e in found} == {20}


def test_maniskill_has_a_row_more_of_observations_and_a_file_beside(tmp_path: Path) -> None:
    path = made.maniskill(tmp_path / "trajectory.h5")
    found, _ = opened(path)
    assert [e.metadata["success"] for e in found] == [True, False, True]
    assert {e.metadata["control_hz"] for e in found} == {25}
    assert np.array_equal(column(found[0], "obs/extra/tcp_pose")[0], np.arange(7))
    path.with_suffix(".json").write_text(
        path.with_suffix(".json").read_text().replace('"episode_id": 2', '"episode_id": 5')
    )
    assert opened(path)[1].bad == {"missing": 1}
    path.with_suffix(".json").write_text("{")
    assert "success" not in opened(path)[0][0].metadata


def test_a_goal_that_stays_reached_ends_an_episode_once(tmp_path: Path) -> None:
    terminals = np.array([0, 0, 1, 1, 0, 0, 1, 1, 1, 0])
    timeouts = np.array([0, 0, 0, 0, 0, 1, 0, 0, 1, 0])
    found, _ = opened(write(tmp_path / "a.h5", actions=np.arange(10.0), terminals=terminals, timeouts=timeouts))
    assert [e.length for e in found] == [4, 2, 3, 1]
    with pytest.raises(InputError, match="different lengths"):
        opened(write(tmp_path / "b.h5", actions=np.arange(10.0), terminals=terminals, timeouts=timeouts[:9]))


def test_names_of_episodes_tell_them_apart_however_their_texts_are_stored(tmp_path: Path) -> None:
    names = [f"take {i // 4}" for i in range(10)]
    for file, stored in (("a.h5", names), ("b.h5", np.array(names, "S"))):
        found, _ = opened(write(tmp_path / file, action=np.arange(10.0), episode_id=stored))
        assert [e.length for e in found] == [4, 4, 2]
    found, _ = opened(
        write(tmp_path / "c.h5", action=np.zeros(10), episode_id=["take 7"], done=np.zeros(10), demo_id=[3])
    )
    assert [e.length for e in found] == [10]
    found, _ = opened(write(tmp_path / "d.h5", action=np.arange(10.0), traj_id=np.arange(10) // 4))
    assert [e.length for e in found] == [4, 4, 2]
    with pytest.raises(InputError, match="'episode_id' has rows without a value"):
        opened(write(tmp_path / "e.h5", action=np.zeros(10), episode_id=np.full(10, np.nan)))


@pytest.mark.parametrize("prefix", ["data__", ""])
@pytest.mark.parametrize("ends", ["meta__episode_ends", "episode_ends"])
def test_rows_are_cut_at_the_ends_that_diffusion_policy_stores(tmp_path: Path, prefix: str, ends: str) -> None:
    nodes = {f"{prefix}action": np.arange(10.0), f"{prefix}img": np.zeros((10, 4, 4, 3), np.uint8)}
    found, _ = opened(write(tmp_path / "a.h5", **nodes, **{ends: np.array([4, 5, 10])}))
    assert [column(e, "action").tolist() for e in found] == [[0, 1, 2, 3], [4], [5, 6, 7, 8, 9]]
    assert [(e.where.number, len(e.frames["img"])) for e in found] == [(0, 4), (1, 1), (2, 5)]
    for wrong in ([4, 5, 9], [4, 5, 11], [5, 4, 10], [4, 4, 10], [0, 10], []):
        with pytest.raises(InputError, match=r"episode_ends must rise to the number of rows of the actions, 10"):
            opened(write(tmp_path / "b.h5", **nodes, **{ends: np.array(wrong, np.int64)}))
    with pytest.raises(InputError, match=r"episode_ends is no list of row numbers"):
        opened(write(tmp_path / "c.h5", **nodes, **{ends: np.array([4.0, 10.0])}))


@pytest.mark.parametrize(
    ("name", "marks", "says"),
    [
        ("episode_index", np.arange(10) // 5, "'episode_index' has 2 values"),
        ("episode_id", ["a"] * 5 + ["b"] * 5, "'episode_id' has 2 values"),
        ("timeouts", np.arange(10) % 5 == 4, "'timeouts' marks 1 end"),
        ("episode_ends", [5, 10], "'episode_ends' has 2 values"),
    ],
)
def test_a_group_of_several_episodes_is_rejected(tmp_path: Path, name: str, marks: Any, says: str) -> None:
    nodes = {"train__actions": np.zeros((10, 2)), f"train__{name}": marks}
    found, source = opened(write(tmp_path / "a.h5", **nodes))
    assert found == []
    assert source.bad == {"frames": 1}
    assert says in str(source.first_bad)


@pytest.mark.parametrize(("rows", "says"), [(11, "has 11 rows, the actions have 9"), (8, "has 8 rows")])
def test_observations_of_another_length_are_rejected(tmp_path: Path, rows: int, says: str) -> None:
    path = write(tmp_path / "a.h5", data__demo_0__actions=np.zeros((9, 2)), data__demo_0__obs__q=np.zeros((rows, 2)))
    found, source = opened(path)
    assert found == []
    assert source.bad == {"frames": 1}
    assert says in str(source.first_bad)


def test_any_groups_with_actions_are_episodes(tmp_path: Path) -> None:
    nodes = {f"runs__day{d}__take_{n}__action": np.full((4, 2), 10 * d + n) for d in (1, 2) for n in (2, 10)}
    found, _ = opened(write(tmp_path / "a.h5", **nodes))
    assert [column(e, "action")[0, 0] for e in found] == [12, 20, 22, 30]
    assert len({e.where.number for e in found}) == 4


def test_droid_has_groups_of_actions(tmp_path: Path) -> None:
    nodes = {
        "action__joint_velocity": np.ones((6, 7)),
        "action__gripper_position": np.ones(6),
        "observation__q": np.ones((6, 7)),
    }
    found, _ = opened(write(tmp_path / "trajectory.h5", **nodes))
    assert sorted(found[0].steps) == ["action/gripper_position", "action/joint_velocity", "observation/q"]


def test_folders_named_as_splits_are_splits(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        (tmp_path / "set" / split).mkdir(parents=True)
        write(tmp_path / "set" / split / "a.hdf5", action=np.zeros((3 if split == "train" else 4, 2)))
    assert [e.length for e in opened(tmp_path / "set")[0]] == [3]
    assert [e.length for e in opened(tmp_path / "set", "valid")[0]] == [4]
    with pytest.raises(InputError, match="no split 'test'; there are train, valid"):
        opened(tmp_path / "set", "test")


def leaving(tmp_path: Path, kind: str, where: str) -> Path:
    """A file of one episode that has a dataset in another file, as `where`."""
    h5py = pytest.importorskip("h5py")
    write(tmp_path / "secret.h5", x=np.ones((3, 2)))
    (tmp_path / "raw.bin").write_bytes(np.ones((3, 2)).tobytes())
    folder = tmp_path / "data"
    folder.mkdir()
    with h5py.File(folder / "a.hdf5", "w") as file:
        file["data/demo_0/actions"] = np.zeros((3, 2))
        if where in file:
            del file[where]
        if kind == "external link":
            file[where] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "x")
        elif kind == "soft link over an external one":
            file["out"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "x")
            file[where] = h5py.SoftLink("/out")
        elif kind == "virtual dataset":
            layout = h5py.VirtualLayout((3, 2), float)
            layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", (3, 2))
            file.create_virtual_dataset(where, layout)
        elif kind == "virtual dataset over an external link":
            file["out"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "x")
            layout = h5py.VirtualLayout((3, 2), float)
            layout[:] = h5py.VirtualSource(".", "out", (3, 2))
            file.create_virtual_dataset(where, layout)
        else:
            file.create_dataset(where, (3, 2), float, external=[(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)])
    return folder


KINDS = {
    "external link": "a link to another file",
    "soft link over an external one": "a link to another file",
    "virtual dataset": "a virtual dataset over another file",
    "virtual dataset over an external link": "not in this file",
    "external storage": "stored in another file",
}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_outside_the_file_is_read(tmp_path: Path, kind: str) -> None:
    found, source = opened(leaving(tmp_path, kind, "data/demo_0/actions"))
    assert found == []
    assert KINDS[kind] in str(source.first_bad)
    (tmp_path / "other").mkdir()
    (episode,) = opened(leaving(tmp_path / "other", kind, "data/demo_0/obs/q"))[0]
    assert "obs/q" not in episode.steps
    assert KINDS[kind] in episode.frames["obs/q"].check()


def test_links_and_virtual_datasets_within_the_file_are_read(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["store/x"] = np.arange(6.0).reshape(3, 2)
        layout = h5py.VirtualLayout((3, 2), float)
        layout[:] = h5py.VirtualSource(".", "store/x", (3, 2))
        file.create_virtual_dataset("data/demo_0/actions", layout)
        file["data/demo_0/obs/q"] = h5py.SoftLink("/store/x")
        file["data/demo_0/obs/gone"] = h5py.SoftLink("/store/y")
        file["data/demo_0/obs/round"] = h5py.SoftLink("round")
    (episode,) = opened(tmp_path / "a.h5")[0]
    assert np.array_equal(episode.steps["action"], np.arange(6.0).reshape(3, 2))
    assert np.array_equal(episode.steps["obs/q"], episode.steps["action"])
    assert "is not there" in episode.frames["obs/gone"].check()


def test_groups_within_themselves_and_bombs_are_rejected(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data/demo_0/actions"] = np.zeros((3, 2))
        file["data/demo_0/obs/again"] = file["data/demo_0"]
        file.create_dataset("data/demo_1/actions", (1 << 40, 7), chunks=(1024, 7))
    found, source = opened(tmp_path / "a.h5")
    assert found == []
    assert sum(source.bad.values()) == 2


@pytest.mark.parametrize(
    ("pictures", "says"),
    [
        (np.zeros((3, 4, 5, 3), np.float32), "expected uint8"),
        (np.zeros((3, 4, 5), np.uint16), "one channel"),
        (np.zeros((3, 4, 5, 1), np.uint8), "one channel"),
        (np.zeros((3, 3, 5, 3), np.uint8), "is the first or the last 3 the colours"),
        (np.zeros((3, 4, 5, 4), np.uint8), "expected"),
    ],
)
def test_what_is_no_camera_is_said(tmp_path: Path, pictures: Any, says: str) -> None:
    (episode,) = opened(write(tmp_path / "a.h5", action=np.zeros((3, 2)), observations__images__c=pictures))[0]
    assert says in episode.frames["observations/images/c"].check()


def test_colours_first_and_strings_of_images_are_read(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    pictures = made.PICTURES[1]
    encoded = [made.jpeg(picture) for picture in pictures]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["action"], file["obs/planes"] = np.zeros((5, 2)), pictures.transpose(0, 3, 1, 2)
        file["obs/strings"] = np.array(encoded)
        ragged = file.create_dataset("obs/ragged", (5,), h5py.vlen_dtype(np.uint8))
        for i, data in enumerate(encoded):
            ragged[i] = np.frombuffer(data, np.uint8)
        ragged[3] = np.zeros(0, np.uint8)
    (episode,) = opened(tmp_path / "a.h5")[0]
    planes = list(episode.frames["obs/planes"].read())
    assert all(np.array_equal(pixels(a), b) for a, b in zip(planes, pictures, strict=True))
    assert list(episode.frames["obs/strings"].read()) == encoded
    frames = list(episode.frames["obs/ragged"].read())
    assert frames[:3] + frames[4:] == encoded[:3] + encoded[4:]
    assert "step 3: the row is empty" in str(frames[3])


def test_remote_files_are_read_through_fsspec(tmp_path: Path) -> None:
    import fsspec

    made.libero(tmp_path / "libero")
    fsspec.filesystem("memory").put(str(tmp_path / "libero"), "/hdf5/libero", recursive=True)
    found = list(open_episodes("memory://hdf5/libero"))
    assert [e.length for e in found] == [*made.LENGTHS, *made.LENGTHS]
    assert np.array_equal(pixels(next(iter(found[0].frames["obs/agentview_rgb"].read()))), made.PICTURES[0][0])


@pytest.mark.slow
def test_damaged_files_give_rejects_and_neither_crash_nor_hang(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fasttok.fuzz_hdf5", str(tmp_path), "0", "400"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-200:] + result.stderr[-3000:]
    outcomes: dict[str, int] = json.loads(result.stdout.splitlines()[-1])
    assert sum(outcomes.values()) == 400
    assert outcomes["rejects"] > 100


@pytest.mark.parametrize("size", [0, 2**64 - 1, 2**40])
def test_a_heap_of_texts_that_does_not_end_is_refused(tmp_path: Path, size: int) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["action"] = np.zeros((3, 2))
        file.attrs["language"] = "x" * 100
        file["words"] = np.array(["a" * 30, "b", "c"], object)
    data = bytearray((tmp_path / "a.h5").read_bytes())
    at = data.index(b"GCOL") + 16
    while data[at : at + 2] != b"\0\0":  # the free space at the end of the heap has no number
        at += 16 + (int.from_bytes(data[at + 8 : at + 16], "little") + 7) // 8 * 8
    data[at + 8 : at + 16] = size.to_bytes(8, "little")
    (tmp_path / "a.h5").write_bytes(data)
    found, source = opened(tmp_path / "a.h5")
    assert "language" not in found[0].metadata if found else source.bad


def test_several_action_keys_stand_side_by_side(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    velocity, gripper = rng.normal(size=(40, 7)), rng.normal(size=40)
    nodes = {"action__joint_velocity": velocity, "action__gripper_position": gripper, "observation__q": velocity}
    for n in range(3):
        write(tmp_path / f"trajectory_{n}.h5", **nodes)
    keys = ("action/joint_velocity", "action/gripper_position")
    with Dataset(open_episodes(str(tmp_path)), ChunkConfig(horizon=5, action_key=keys)) as data:
        (group,) = data.groups.values()
        assert group.embodiment.action_dim == 8
        chunks, _ = group.sample("train", 1)
        steps = np.hstack([velocity, gripper[:, None]]).astype(np.float32)
        assert any(np.array_equal(chunks[0], steps[i : i + 5]) for i in range(36))
    with pytest.raises(InputError, match="there are action/gripper_position"):
        Dataset(open_episodes(str(tmp_path)), ChunkConfig(horizon=5, action_key=(*keys, "action/nothing")))
    out = tmp_path / "TOKENIZER"
    Fit((str(tmp_path),), out, horizon=5, action_key=keys).run()
    assert next(iter(ActionTokenizer.load(out).embodiments.values())).action_dim == 8


def test_chunks_of_another_rank_are_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data/demo_0/actions"] = np.zeros((3, 2))
        file["data/demo_0/obs/q"] = np.zeros((3, 2))
        file.create_dataset("data/demo_0/obs/cam", (3, 811), np.uint8, chunks=(1, 811))
    data = (tmp_path / "a.h5").read_bytes()
    sound = b"\x03\x02\x03"  # a layout message: version 3, chunked, two axes and the size of a value
    places = [
        i for i in range(len(data)) if data[i : i + 3] == sound and data[i + 15 : i + 19] == (811).to_bytes(4, "little")
    ]
    assert len(places) == 1
    (tmp_path / "a.h5").write_bytes(data[: places[0] + 2] + b"\x02" + data[places[0] + 3 :])
    (episode,) = opened(tmp_path / "a.h5")[0]
    assert "that of its chunks" in episode.frames["obs/cam"].check()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_rows_of_encoded_images_are_checked_one_by_one(tmp_path: Path, form: str) -> None:
    image = pytest.importorskip("PIL.Image")
    encoded = []
    for picture in made.PICTURES[2]:
        stream = io.BytesIO()
        image.fromarray(picture).save(stream, form)
        encoded.append(stream.getvalue())
    width = max(map(len, encoded)) + 50
    rows = np.stack([np.frombuffer(data.ljust(width, b"\0"), np.uint8) for data in encoded])
    rows[3] = 0
    rows[5, :4] = 7
    if form == "JPEG":
        rows[7, 300:] = 0
    path = write(
        tmp_path / "a.h5", action=np.zeros((12, 2)), observations__images__cam=rows, compress_len=np.zeros((1, 12))
    )
    frames = list(opened(path)[0][0].frames["observations/images/cam"].read())
    bad = {3: "the row is empty", 5: "no JPEG, PNG or WebP"} | ({7: "is cut off"} if form == "JPEG" else {})
    for step, frame in enumerate(frames):
        assert bad[step] in str(frame) if step in bad else frame == encoded[step]


@pytest.mark.parametrize("name", ["mask/train", "mask", "terminals", "timeouts", "episode_ends", "meta/episode_ends"])
def test_what_tells_episodes_apart_must_lie_in_the_file(tmp_path: Path, name: str) -> None:
    h5py = pytest.importorskip("h5py")
    path = made.robomimic(tmp_path / "a.h5") if "mask" in name else made.d4rl(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        file[name] = h5py.ExternalLink("other.h5", "x")
    with pytest.raises(InputError, match=rf"a\.h5: /{name}: a link to another file \(other\.h5\)"):
        opened(path)
