"""LeRobot folders become an INDEX and shards: each row's picture is that of its step, what is missing is counted by name."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fasttok.errors import InputError
from tests.pipelines.recordings.lerobot_chain import build, index, pictures
from tests.pipelines.recordings.lerobot_data import CAMERA, FPS, TASKS, write_v2, write_v3

LENGTHS = (40, 33, 25, 47, 30)
WRITERS = {"v2.1": write_v2, "v3.0": write_v3}


def rejects(out: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(out.rglob("*.rejected.parquet")) for row in pq.read_table(file).to_pylist()]


@pytest.mark.parametrize("version", WRITERS)
def test_each_row_has_the_picture_of_its_step(version: str, tmp_path: Path) -> None:
    root = WRITERS[version](tmp_path / "robot", LENGTHS)
    made = index(root, tmp_path / "index")
    counts = made.datasets["robot"].splits["train"]
    assert (counts.indexed, counts.steps, counts.rejected) == (len(LENGTHS), sum(LENGTHS), {})
    entry = made.datasets["robot"].entry
    assert (entry.control_hz, entry.cameras, entry.format) == (FPS, {"primary": CAMERA}, "lerobot")
    assert entry.action_encoding == ("absolute",) * 3
    assert entry.action_names == entry.proprio_names == ("x", "y", "z")
    assert any("absolute, as the state follows 3 of its 3" in guess for guess in entry.guesses)
    reader = build(tmp_path / "index", tmp_path / "shards")
    pairs = pictures(reader)
    assert len(pairs) == 60
    assert [said for said, _ in pairs] == [seen for _, seen in pairs]
    prompts = {int(row["sample_id"].rsplit("/", 4)[2]): row["prompt"] for row in map(reader.row, range(60))}
    assert all(prompt == TASKS[episode % 2] for episode, prompt in prompts.items())
    source = reader.manifest.sources["robot"]
    assert source.images_encoded == 60
    assert set(reader.manifest.image_encoders) >= {"Pillow", "PyAV"}


@pytest.mark.parametrize("rate", [0.95, 1.05])
@pytest.mark.parametrize("version", WRITERS)
def test_time_stamps_that_drift_from_the_video_find_no_frames_of_other_steps(
    version: str, rate: float, tmp_path: Path
) -> None:
    root = WRITERS[version](tmp_path / "robot", (10, *LENGTHS))
    for file in (root / "data").rglob("*.parquet"):
        table = pq.read_table(file)
        times = pa.array((np.array(table["frame_index"]) / FPS * rate).astype(np.float32))
        pq.write_table(table.set_column(table.column_names.index("timestamp"), "timestamp", times), file)
    counts = index(root, tmp_path / "index").datasets["robot"].splits["train"]
    assert (counts.indexed, counts.rejected) == (
        1,
        {"video": len(LENGTHS)},
    )  # the short one is off by less than half a frame
    details = [letter["detail"] for letter in rejects(tmp_path / "index")]
    assert all("but the time stamp of the last step means" in d or "ends at" in d for d in details)


def test_a_task_that_is_cut_inside_a_character_is_a_reject(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "robot", LENGTHS)
    for name in ("tasks", "episodes"):
        file = root / "meta" / f"{name}.jsonl"
        file.write_text(file.read_text().replace(TASKS[1], r"go \ud83d"))  # half an emoji
    counts = index(root, tmp_path / "index").datasets["robot"].splits["train"]
    assert (counts.indexed, counts.rejected) == (3, {"language": 2})
    assert {row["detail"] for row in rejects(tmp_path / "index")} == {"task is not UTF-8"}


def test_a_set_that_lerobot_wrote(tmp_path: Path) -> None:
    """v3.0 by lerobot 0.6.1, AV1, two cameras; see lerobot_v3/README.md."""
    shutil.copytree(Path(__file__).with_name("lerobot_v3"), tmp_path / "robot")
    made = index(tmp_path / "robot", tmp_path / "index").datasets["robot"]
    assert (made.splits["train"].indexed, made.splits["train"].steps) == (4, 128)
    assert made.entry.cameras == {"primary": "observation.images.top", "wrist": "observation.images.wrist"}
    assert (made.entry.robot, made.entry.control_hz) == ("so101", 10)
    reader = build(tmp_path / "index", tmp_path / "shards", 64)
    pairs = pictures(reader)
    assert [said for said, _ in pairs] == [seen for _, seen in pairs]
    texts = {row["prompt"] for row in map(reader.row, range(64))}
    assert texts == set(TASKS)


@pytest.mark.parametrize("version", WRITERS)
def test_a_missing_video_costs_its_episodes_by_name(
    version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = WRITERS[version](tmp_path / "robot", LENGTHS)
    gone = sorted((root / "videos").rglob("*.mp4"))[1]
    gone.unlink()
    made = index(root, tmp_path / "index")
    lost = {"v2.1": [1], "v3.0": [2, 3]}[version]
    said = capsys.readouterr()
    assert f", episode {lost[0]})" in said.err
    files = {
        "v2.1": 2 * len(LENGTHS) - 1,
        "v3.0": len([*root.rglob("file-*.*")]) - len([*root.rglob("meta/**/file-*")]),
    }
    assert said.out.splitlines()[-1].split()[3:5] == [str(files[version]), "-"]  # no byte range says how much was read
    counts = made.datasets["robot"].splits["train"]
    assert (counts.indexed, counts.rejected) == (len(LENGTHS) - len(lost), {"video": len(lost)})
    found = rejects(tmp_path / "index")
    assert [row["episode"] for row in found] == lost
    assert all(CAMERA in row["detail"] and str(gone) in row["detail"] for row in found)
    without = tmp_path / "no_cameras.yaml"
    without.write_text(
        "{name: robot, kind: robot, control_hz: 10, cameras: {}, action: [{from: action}], language: task}"
    )
    made = index(root, tmp_path / "index2", entries=(str(without),))
    assert made.datasets["robot"].splits["train"].indexed == len(LENGTHS)


@pytest.mark.parametrize("version", WRITERS)
def test_a_lost_or_damaged_table_is_counted_and_the_rest_is_read(version: str, tmp_path: Path) -> None:
    root = WRITERS[version](tmp_path / "robot", [*LENGTHS, 20, 20])
    tables = sorted((root / "data").rglob("*.parquet"))
    tables[0].unlink()
    tables[1].write_bytes(tables[1].read_bytes()[:-30])
    entry = tmp_path / "entry.yaml"  # too few episodes are left to tell what the actions mean
    entry.write_text(
        f"{{name: robot, kind: robot, control_hz: 10, cameras: {{primary: {CAMERA}}}, action: [{{from: action}}]}}"
    )
    counts = index(root, tmp_path / "index", entries=(str(entry),)).datasets["robot"].splits["train"]
    lost = {"v2.1": (1, 1), "v3.0": (3, 3)}[version]
    assert counts.rejected == {"missing": lost[0], "unreadable": lost[1]}
    assert (counts.read, counts.indexed) == (7, 7 - sum(lost))


def test_what_is_declared_and_what_is_there_are_compared(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "robot", LENGTHS, total_episodes=7)
    listed = (root / "meta" / "episodes.jsonl").read_text().splitlines()
    wrong = json.dumps(json.loads(listed[3]) | {"length": 46})
    (root / "meta" / "episodes.jsonl").write_text("\n".join([*listed[:3], wrong]) + "\n")  # episode 4 is not listed
    info = json.loads((root / "meta" / "info.json").read_text())
    (root / "meta" / "info.json").write_text(json.dumps(info | {"splits": {"train": "0:7"}}))
    counts = index(root, tmp_path / "index").datasets["robot"].splits["train"]
    assert counts.rejected == {"frames": 1, "missing": 3, "undeclared": 1}
    assert counts.indexed == 3


def test_splits_are_ranges_of_episodes(tmp_path: Path) -> None:
    root = write_v3(tmp_path / "robot", LENGTHS, splits={"train": "0:4", "val": "4:5"})
    splits = index(root, tmp_path / "index").datasets["robot"].splits
    assert {name: counts.indexed for name, counts in splits.items()} == {"train": 4, "val": 1}


def test_files_in_other_places_are_found_where_only_one_can_be_meant(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "robot", LENGTHS)
    (root / "data" / "chunk-000").rename(root / "data" / "part0")
    (root / "videos" / "chunk-000" / CAMERA).rename(root / "videos" / "top")
    made = index(root, tmp_path / "index")
    assert made.datasets["robot"].splits["train"].indexed == len(LENGTHS)
    pairs = pictures(build(tmp_path / "index", tmp_path / "shards", 20))
    assert [said for said, _ in pairs] == [seen for _, seen in pairs]


def test_images_in_tables_are_passed_on_as_they_are(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "robot", LENGTHS[:3])
    stored = {}
    for file in sorted((root / "data").rglob("*.parquet")):
        table = pq.read_table(file)
        images = []
        for step in range(len(table)):
            out = io.BytesIO()
            Image.new("RGB", (8, 8), (step, 0, 0)).save(out, "PNG")
            images.append({"bytes": out.getvalue(), "path": f"frame_{step:06d}.png"})
        number = table["episode_index"][0].as_py()
        stored[number] = [image["bytes"] for image in images]
        kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        pq.write_table(table.append_column("observation.image", pa.array(images, kind)), file)
    info = json.loads((root / "meta" / "info.json").read_text())
    del info["features"][CAMERA]
    info["features"]["observation.image"] = {"dtype": "image", "shape": [8, 8, 3], "names": None}
    (root / "meta" / "info.json").write_text(json.dumps(info))
    index(root, tmp_path / "index")
    reader = build(tmp_path / "index", tmp_path / "shards", 20)
    for row in map(reader.row, range(20)):
        _, _, episode, step, _ = row["sample_id"].rsplit("/", 4)
        assert row["image/primary"] == stored[int(episode)][int(step)]
    assert reader.manifest.image_encoders == {}


def test_frames_are_encoded_once_in_the_form_that_the_mixture_asks_for(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "robot", LENGTHS)
    index(root, tmp_path / "index")
    for text, form, size in (
        (", encode: {format: png}", "PNG", (64, 64)),
        (", encode: {format: webp, quality: 80}, resize: {height: 32, width: 48, fit: stretch}", "WEBP", (48, 32)),
        (", resize: {height: 32, width: 32}", "JPEG", (32, 32)),
    ):
        reader = build(tmp_path / "index", tmp_path / form, 12, text)
        image = Image.open(io.BytesIO(reader.row(0)["image/primary"]))
        assert (image.format, image.size) == (form, size)
        assert all(said == seen for said, seen in pictures(reader))


def test_a_video_that_changed_is_noticed(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "robot", LENGTHS)
    index(root, tmp_path / "index")
    videos = sorted((root / "videos").rglob("*.mp4"))
    videos[0].write_bytes(videos[1].read_bytes())
    with pytest.raises(InputError, match=r"episode_000000\.mp4 changed since it was indexed"):
        build(tmp_path / "index", tmp_path / "shards")


def test_other_actions_in_the_same_place_are_noticed(tmp_path: Path) -> None:
    root = write_v3(tmp_path / "robot", LENGTHS)
    index(root, tmp_path / "index")
    file = sorted((root / "data").rglob("*.parquet"))[0]
    table = pq.read_table(file)
    new = pa.array((-np.array(table["action"].to_pylist())).tolist(), pa.list_(pa.float32()))
    pq.write_table(table.set_column(0, "action", new), file)
    with pytest.raises(InputError, match="changed since it was indexed"):
        build(tmp_path / "index", tmp_path / "shards")


def test_a_set_whose_actions_mean_nothing_clear_asks(tmp_path: Path) -> None:
    root = write_v2(tmp_path / "robot", LENGTHS[:2])
    for file in sorted((root / "data").rglob("*.parquet")):
        pq.write_table(pq.read_table(file).drop_columns(["observation.state"]), file)
    info = json.loads((root / "meta" / "info.json").read_text())
    del info["features"]["observation.state"]
    (root / "meta" / "info.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match=r"is it absolute[\s\S]*datasets draft"):
        index(root, tmp_path / "index")


@pytest.mark.parametrize("template", ["../{episode_index}.mp4", "/etc/{video_key}", "file://{video_key}"])
def test_paths_that_lead_out_of_the_folder_are_refused(template: str, tmp_path: Path) -> None:
    root = write_v2(tmp_path / "robot", LENGTHS[:2], video_path=template)
    with pytest.raises(InputError, match="leads out of the dataset's folder"):
        index(root, tmp_path / "index")


def test_the_real_humanoid(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "lerobot" / "g1_bottle"
    if not folder.exists():
        pytest.skip("the shared LeRobot folder is not here")
    made = index(folder, tmp_path / "index")
    counts = made.datasets["g1_bottle"].splits["train"]
    assert (counts.read, counts.indexed, counts.rejected) == (100, 14, {"video": 86})
    assert all("observation.images.cam_high" in row["detail"] for row in rejects(tmp_path / "index"))
