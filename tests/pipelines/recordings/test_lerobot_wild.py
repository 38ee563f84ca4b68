"""LeRobot folders as they are found: what only one thing can mean is read and said, the rest is named with its file."""

import io
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fasttok.episodes import open_episodes
from fasttok.episodes.index_file import IndexedDataset
from fasttok.errors import InputError
from pipelines.drafts.lerobot import propose
from tests.pipelines.recordings.lerobot_chain import build, index, pictures
from tests.pipelines.recordings.lerobot_data import CAMERA, lines, write_v2, write_v3

LENGTHS = (40, 33, 25, 47)
Change = Callable[[Path], object]


def info(**more: Any) -> Change:
    """Changes of info.json; None takes a key away."""

    def change(root: Path) -> None:
        file = root / "meta" / "info.json"
        old = json.loads(file.read_text()) | more
        file.write_text(json.dumps({key: value for key, value in old.items() if value is not None}))

    return change


def action(**more: Any) -> Change:
    def change(root: Path) -> None:
        features = json.loads((root / "meta" / "info.json").read_text())["features"]
        info(features=features | {"action": features["action"] | more})(root)

    return change


def both(*changes: Change) -> Change:
    return lambda root: [change(root) for change in changes]


def no_info(root: Path) -> None:
    (root / "meta" / "info.json").unlink()
    (root / "meta" / "info.json").mkdir()


def nothing_there(root: Path) -> None:
    shutil.rmtree(root / "data")
    (root / "meta" / "episodes.jsonl").unlink()


def rows(change: Callable[[pa.Table], pa.Table]) -> Change:
    """Changes of every table."""

    def of_all(root: Path) -> None:
        for file in sorted((root / "data").rglob("*.parquet")):
            pq.write_table(change(pq.read_table(file)), file)

    return of_all


def listed(*rows: dict[str, Any]) -> Change:
    return lambda root: lines(root / "meta" / "tasks.jsonl", rows)


def text(file: str, change: Callable[[bytes], bytes]) -> Change:
    return lambda root: (root / file).write_bytes(change((root / file).read_bytes()))


def replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def pixels(table: pa.Table, name: str, bytes_too: bool = True) -> pa.Table:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    image = {"bytes": out.getvalue() if bytes_too else None, "path": "images/0.png"}
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return table.append_column(name, pa.array([image] * len(table), kind))


def without_video(root: Path) -> Path:
    shutil.rmtree(root / "videos")
    features = json.loads((root / "meta" / "info.json").read_text())["features"]
    info(features={key: value for key, value in features.items() if key != CAMERA})(root)
    return root


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return without_video(write_v2(tmp_path_factory.mktemp("plain") / "robot", LENGTHS))


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return without_video(write_v3(tmp_path_factory.mktemp("packed") / "robot", LENGTHS))


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_v2(tmp_path_factory.mktemp("filmed") / "robot", LENGTHS)


def drafted(source: Path, change: Change, tmp_path: Path) -> tuple[str, str]:
    """Text of the drafted entry, and what was assumed."""
    root = shutil.copytree(source, tmp_path / "robot")
    change(root)
    draft = propose(str(root))
    assert not draft.questions
    return draft.text, "\n".join(draft.assumed)


def renamed(table: pa.Table) -> pa.Table:
    names = {"action": "actions", "observation.state": "state"}
    table = table.rename_columns([names.get(name, name) for name in table.column_names])
    return pixels(pixels(table, "image"), "wrist_image")


def in_groups(table: pa.Table) -> pa.Table:
    moves = np.array(table["action"].to_pylist())
    table = table.drop_columns(["action"]).append_column("action.gripper_position", pa.array(moves[:, 2]))
    return table.append_column("action.joint_position", pa.array(moves[:, :2].tolist()))


def numbered_with_gaps(root: Path) -> None:
    for number in reversed(range(4)):
        file = root / "data" / "chunk-000" / f"episode_{number:06d}.parquet"
        table = pq.read_table(file)
        file.unlink()
        table = replaced(table, "episode_index", pa.array([3 * number] * len(table)))
        pq.write_table(table, file.with_name(f"episode_{3 * number:06d}.parquet"))
    episodes = [{"episode_index": 3 * i, "length": n, "tasks": ["a"]} for i, n in enumerate(LENGTHS)]
    lines(root / "meta" / "episodes.jsonl", episodes)


def several_tasks(root: Path) -> None:
    rows = [{"episode_index": i, "length": n, "tasks": ["a", "b"][: 1 + (i == 2)]} for i, n in enumerate(LENGTHS)]
    lines(root / "meta" / "episodes.jsonl", rows)


def one_table(root: Path) -> None:
    files = sorted((root / "data").rglob("*.parquet"))
    pq.write_table(pa.concat_tables([pq.read_table(file) for file in files]), root / "data" / "train-0.parquet")
    for file in files:
        file.unlink()


def spoken(root: Path) -> None:
    (root / "meta" / "tasks.jsonl").unlink()
    lines(root / "meta" / "episodes.jsonl", [{"episode_index": i, "length": n} for i, n in enumerate(LENGTHS)])
    rows(lambda t: t.append_column("language_instruction", pa.array(["lift"] * len(t))))(root)


@pytest.mark.parametrize(
    ("change", "in_text", "in_assumed"),
    [
        (both(rows(renamed), info(features=None)), "{primary: image, wrist: wrist_image}", "image, wrist_image"),
        (info(fps=None), "control_hz: 10\n", "control_hz: 10, by the time stamps"),
        (info(codebase_version=None), "", "version: v2.1"),
        (info(codebase_version="2.0", fps="10", splits=None), "control_hz: 10\n", ""),
        (info(splits={"train": [0, 1, 2, 3]}), "", ""),
        (action(names={"z": 2, "x": 0, "y": 1}), "names: [x, y, z]", ""),
        (action(names={"0": "a", "1": "b", "2": "c"}), "names: [a, b, c]", ""),
        (action(names={"axes": ["a", "b", "c"]}), "names: [a, b, c]", ""),
        (action(names=["a", "b"]), "", "names: none for the action, as 2 are recorded for 3 columns"),
        (rows(in_groups), "", "action: action.gripper_position, action.joint_position side by side"),
        (numbered_with_gaps, "", "their numbers have gaps, up to 9"),
        (several_tasks, "language: task", "first step for all steps, though 1 of 4 episodes have several tasks"),
        (one_table, "", "data/train-0.parquet instead of data/chunk-000/episode_000000.parquet"),
        (lambda r: (r / "meta/episodes.jsonl").unlink(), "", "episodes: 4, by the names of 4 tables"),
        (spoken, "language: language_instruction", "language: language_instruction, by its name"),
        (rows(lambda t: t.drop_columns(["timestamp", "frame_index"])), "", "timestamp: the number of a step"),
        (text("meta/tasks.jsonl", lambda data: b"\xef\xbb\xbf" + data), "language: task", ""),
        (rows(lambda t: pixels(t, "observation.image")), "{primary: observation.image}", "does not declare"),
    ],
)  # fmt: skip
def test_what_only_one_thing_can_mean_is_read(
    plain: Path, change: Change, in_text: str, in_assumed: str, tmp_path: Path
) -> None:
    text, assumed = drafted(plain, change, tmp_path)
    assert in_text in text
    assert in_assumed in assumed
    assert "absolute, as the state follows 3 of its 3" in assumed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (text("meta/info.json", lambda data: data[:-40]), r"meta/info\.json is not a LeRobot info file: .*line 1"),
        (text("meta/info.json", lambda _: b"[]"), "it contains list, expected an object"),
        (info(fps=[10]), r"fps is \[10\], expected a number"),
        (info(splits=["train"]), r"splits is \['train'\], expected ranges"),
        (info(features=[1]), "features is a list, expected an object"),
        (info(features={"action": "float32"}), "the feature action is 'float32'"),
        (info(codebase_version="v1.6"), "v1.6; this fasttok reads v2 and v3; lerobot converts older"),
        (info(codebase_version="v4.0"), "v4.0; this fasttok reads v2 and v3; a newer fasttok may"),
        (lambda r: (r / "meta/info.json").unlink(), r"looks like a LeRobot folder.*meta/info\.json is missing"),
        (no_info, "info.json is a folder"),
        (text("meta/episodes.jsonl", lambda data: data[:-9]), r"meta/episodes\.jsonl: .* damaged: line 4"),
        (text("meta/tasks.jsonl", lambda data: data[:-9]), r"meta/tasks\.jsonl: .* damaged: line 2"),
        (text("meta/tasks.jsonl", lambda _: b"version https://git-lfs.github.com/spec/v1\n"), r"tasks\.jsonl: .*LFS"),
        (listed({"task_index": 0, "task": "a"}, {"task_index": 0, "task": "b"}), "task_index 0 is both 'a' and 'b'"),
        (listed({"task_index": 0, "task": ["a"]}), r"task 0 is \['a'\], expected a text"),
        (rows(lambda t: t.drop_columns(["episode_index"])), r"episode_000000\.parquet.*no column that numbers"),
        (action(shape=[5]), r"the first problem: .*action has 3 numbers per step, meta/info\.json says 5"),
        (rows(lambda t: replaced(t, "action", pa.array(["a"] * len(t)))), r"episode_000000\.parquet.*action has 1"),
        (nothing_there, "has no episode: meta/ lists none"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_file(plain: Path, change: Change, message: str, tmp_path: Path) -> None:
    root = shutil.copytree(plain, tmp_path / "robot")
    change(root)
    with pytest.raises(InputError, match=message):
        index(root, tmp_path / "index")


def test_a_folder_of_datasets_is_named_with_them(plain: Path, tmp_path: Path) -> None:
    for name in ("lift", "pour"):
        shutil.copytree(plain, tmp_path / "lab" / name)
    for read in (lambda: index(tmp_path / "lab", tmp_path / "index"), lambda: open_episodes(str(tmp_path / "lab"))):
        with pytest.raises(InputError, match=r"folder of LeRobot datasets: .*lab/lift, .*lab/pour; give these"):
            read()


def test_fit_names_a_broken_list_once(plain: Path, tmp_path: Path) -> None:
    root = shutil.copytree(plain, tmp_path / "robot")
    text("meta/episodes.jsonl", lambda data: data[:-9])(root)
    with pytest.raises(InputError, match=r"meta/episodes\.jsonl: the list of episodes is damaged: line 4") as caught:
        list(open_episodes(str(root)).records())
    assert str(caught.value).count("damaged") == 1


def test_two_ways_to_say_the_same_action_are_asked_for(plain: Path, tmp_path: Path) -> None:
    root = shutil.copytree(plain, tmp_path / "robot")
    rows(in_groups)(root)
    rows(lambda t: t.append_column("action.joint_velocity", t["action.joint_position"]))(root)
    assert "say the same in two ways" in "\n".join(propose(str(root)).questions)


def indexed(root: Path, tmp_path: Path) -> IndexedDataset:
    return index(root, tmp_path / "index").datasets["robot"]


def test_numbers_that_are_missing_cost_their_episode(plain: Path, tmp_path: Path) -> None:
    root = shutil.copytree(plain, tmp_path / "robot")
    file = root / "data" / "chunk-000" / "episode_000000.parquet"
    table = pq.read_table(file)
    values = [None if i == 3 else row for i, row in enumerate(table["action"].to_pylist())]
    pq.write_table(replaced(table, "action", pa.array(values, pa.list_(pa.float32()))), file)
    counts = indexed(root, tmp_path).splits["train"]
    assert counts.indexed == 3
    assert sum(counts.filtered.values()) + sum(counts.rejected.values()) == 1


@pytest.mark.parametrize("column", ["task", "__index_level_0__", "index", "name"])
def test_tasks_of_v3_under_any_name(packed: Path, column: str, tmp_path: Path) -> None:
    root = shutil.copytree(packed, tmp_path / "robot")
    pq.write_table(pa.table({"task_index": [0, 1], column: ["lift", "put"]}), root / "meta" / "tasks.parquet")
    made = indexed(root, tmp_path)
    assert any("column 'name'" in guess for guess in made.entry.guesses) == (column == "name")
    reader = build(tmp_path / "index", tmp_path / "shards", 20)
    assert {reader.row(i)["prompt"] for i in range(20)} == {"lift", "put"}


def test_a_task_that_no_list_numbers_is_that_of_its_episode(plain: Path, tmp_path: Path) -> None:
    root = shutil.copytree(plain, tmp_path / "robot")
    rows(lambda t: replaced(t, "task_index", pa.array([9] * len(t))))(root)
    listed({"task_index": 0, "task": "a\u2028b"})(root)
    assert indexed(root, tmp_path).splits["train"].indexed == 4


def test_v3_without_lists_of_episodes(packed: Path, tmp_path: Path) -> None:
    _, assumed = drafted(packed, lambda root: shutil.rmtree(root / "meta" / "episodes"), tmp_path)
    assert "episodes: 4, by the rows of 2 tables" in assumed


def global_clock(table: pa.Table) -> pa.Table:
    return replaced(table, "timestamp", pa.array(np.array(table["index"]) / 10))


def since_1970(table: pa.Table) -> pa.Table:
    return replaced(table, "timestamp", pa.array(1.7e9 + np.arange(len(table)) / 10))


def to_mkv(root: Path) -> None:
    for file in (root / "videos").rglob("*.mp4"):
        file.rename(file.with_suffix(".mkv"))


def by_camera(root: Path) -> None:
    (root / "videos" / CAMERA).mkdir()
    (root / "videos" / "chunk-000" / CAMERA).rename(root / "videos" / CAMERA / "chunk-000")


@pytest.mark.parametrize(
    ("change", "guess"),
    [
        (info(features=None), "by the folders in videos/"),
        (rows(global_clock), "3 of 4 do not begin at 0 s"),
        (rows(since_1970), "4 of 4 do not begin at 0 s"),
        (by_camera, f"videos/{CAMERA}/chunk-000/episode_000000.mp4 instead"),
        (lambda r: (r / "videos/chunk-000" / CAMERA).rename(r / "videos/chunk-000/top"), "top/episode_000000.mp4 instead"),
        (to_mkv, "episode_000000.mkv instead"),
        (rows(lambda t: t.drop_columns(["timestamp"])), "timestamp: the number of a step"),
    ],
)  # fmt: skip
def test_videos_that_are_elsewhere_or_on_another_clock(
    filmed: Path, change: Change, guess: str, tmp_path: Path
) -> None:
    root = shutil.copytree(filmed, tmp_path / "robot")
    change(root)
    made = indexed(root, tmp_path)
    assert made.splits["train"].indexed == 4
    assert any(guess in line for line in made.entry.guesses)
    pairs = pictures(build(tmp_path / "index", tmp_path / "shards", 20))
    assert [said for said, _ in pairs] == [seen for _, seen in pairs]


def test_images_in_the_tables_though_video_is_declared(filmed: Path, tmp_path: Path) -> None:
    root = shutil.copytree(filmed, tmp_path / "robot")
    shutil.rmtree(root / "videos")
    rows(lambda t: pixels(t, CAMERA))(root)
    made = indexed(root, tmp_path)
    assert (made.splits["train"].indexed, made.entry.cameras) == (4, {"primary": CAMERA})
    assert any("is read from the tables" in line for line in made.entry.guesses)


def test_paths_of_images_without_their_bytes_are_named(plain: Path, tmp_path: Path) -> None:
    root = shutil.copytree(plain, tmp_path / "robot")
    rows(lambda t: pixels(t, "observation.image", bytes_too=False))(root)
    features = json.loads((root / "meta" / "info.json").read_text())["features"]
    info(features=features | {"observation.image": {"dtype": "image", "shape": [8, 8, 3]}})(root)
    with pytest.raises(InputError, match=r"observation\.image: the table has paths of images, such as images/0\.png"):
        index(root, tmp_path / "index")


@pytest.mark.parametrize("lost", ["from_timestamp", "to_timestamp"])
def test_episodes_that_would_share_frames_are_refused(lost: str, tmp_path: Path) -> None:
    root = write_v3(tmp_path / "robot", LENGTHS)
    file = root / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    pq.write_table(pq.read_table(file).drop_columns([f"videos/{CAMERA}/{lost}"]), file)
    if lost == "to_timestamp":
        assert indexed(root, tmp_path).splits["train"].indexed == 4
        return
    with pytest.raises(InputError, match="correct from_timestamp"):
        index(root, tmp_path / "index")


def test_what_is_declared_and_not_found_is_said(filmed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = shutil.copytree(filmed, tmp_path / "robot")
    info(total_videos=9, total_frames=99, total_episodes=5, splits={"train": "0:3", "val": "2:3"})(root)
    folder = root / "videos" / "chunk-000" / CAMERA
    shutil.copy(folder / "episode_000000.mp4", folder / "episode_000077.mp4")
    with caplog.at_level(logging.WARNING):
        indexed(root, tmp_path)
    for said in (
        "total_videos 9, there are 5 video files",
        "total_frames 99, the lengths in meta/ sum up to 145",
        "total_episodes 5, meta/ lists 4",
        "1 video files belong to no episode",
        "1 episodes are in no split of meta/info.json and are left out: 3",
        "1 episodes are in several splits (train, val): 2",
    ):
        assert caplog.text.count(said) == 1, said


def test_a_snapshot_in_the_cache_of_the_hub(plain: Path, tmp_path: Path) -> None:
    cache = tmp_path / "hub" / "datasets--lab--pick"
    snapshot = cache / "snapshots" / "0a1b2c"
    (cache / "blobs").mkdir(parents=True)
    for number, file in enumerate(sorted(f for f in plain.rglob("*") if f.is_file())):
        shutil.copy(file, cache / "blobs" / str(number))
        link = snapshot / file.relative_to(plain)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(cache / "blobs" / str(number))
    made = index(snapshot, tmp_path / "index")
    assert made.datasets["pick"].splits["train"].indexed == 4
