"""A run that is alone: loaded, acting, answering and exported without its shards, from another folder; and what `act` refuses."""

import copy
import dataclasses
import inspect
import io
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from fasttok import ActionTokenizer
from fasttok.actions.representation import ActionColumns, Representation
from fasttok.episodes import open_episodes
from fasttok.errors import InputError
from fasttok.fitting.fit import FitConfig, fit_tokenizer
from mixtures.spec import Resize
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.shards import ShardReader
from tests.chain import Chain
from tests.train.tiny_runs import config
from train import policy
from train.acting.robots import QuestionForm, acting_notes
from train.examples import Encoder, Example
from train.judging import open_loop
from train.judging.measurements import Decoding
from train.judging.open_loop import action_errors
from train.judging.vqa_accuracy import answer_questions
from train.loop import run
from train.player import ANSWER_TOKENS, Player
from train.serving.keys import KeyMap
from train.serving.run_policy import RunPolicy

DECODINGS: tuple[Decoding, ...] = ("flow", "tokens")
ROOT = Path(__file__).resolve().parents[2]
SEEN: dict[str, np.ndarray] = {
    "image/primary": np.zeros((64, 64, 3), np.uint8),
    "image/wrist": np.full((48, 64, 3), 9, np.uint8),
    "state": np.zeros(7, np.float32),
}
ALONE = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
gone = sys.argv[1:]
def watch(event, args):
    if event in ("open", "os.listdir", "os.scandir") and args and isinstance(args[0], str | bytes | Path):
        name = str(args[0])
        assert not any(name.startswith(folder) for folder in gone), f"{event} {name}"
sys.addaudithook(watch)
import numpy as np
from train import evaluate, export
from train.player import Player
from tests.train.tiny_runs import FakeEnv
player = Player.load(Path("RUN"))
seen = {"image/primary": np.zeros((64, 64, 3), np.uint8), "state": np.zeros(3, np.float32)}
chunk = {how: player.act("planar", ["push the red circle"], [seen], how)[0].tolist() for how in ("flow", "tokens")}
evaluate.load_factory = lambda name: lambda embodiment, split: FakeEnv(split)
asked = evaluate.EvaluateConfig(
    Path("RUN"), env="fake:make", embodiments=("planar",), episodes=2, batch=2, vqa=Path("vqa"), vqa_questions=2,
    held_out=Path("shards"), held_out_rows=2, out=Path("out.json"),
)
evaluate.main(asked)
export.export(export.ExportConfig(Path("RUN"), Path("export")))
print(json.dumps(chunk))
"""


@pytest.fixture(scope="module")
def player(trained: Path) -> Player:
    return Player.load(trained)


@pytest.mark.slow
def test_a_copied_run_acts_is_measured_and_exported_without_what_it_was_made_of(chain: Chain, tmp_path: Path) -> None:
    """Another folder, another process; the shards, and what config.json says that the run began with, are gone."""

    made = tmp_path / "made"
    shards, tokenizer = shutil.copytree(chain.shards, made / "shards"), shutil.copytree(chain.tokenizer, made / "tok")
    run(config(chain, made / "first", steps=1))
    text = shutil.copy(made / "first" / "text_tokenizer.json", made / "text.json")
    data = {"tokenizer": tokenizer, "text_tokenizer": Path(text)}
    moved = dataclasses.replace(chain, shards=shards)
    run(config(moved, made / "run", steps=2, init_from=made / "first", data=data))
    player = Player.load(made / "run")
    here = {"image/primary": SEEN["image/primary"], "state": np.zeros(3, np.float32)}
    chunk = {how: player.act("planar", ["push the red circle"], [here], how)[0] for how in ("flow", "tokens")}

    away = tmp_path / "away"
    shutil.copytree(made / "run", away / "RUN")
    shutil.copytree(chain.shards, away / "shards")
    shutil.copytree(chain.data / "tabletop_vqa", away / "vqa")
    made.rename(tmp_path / "gone")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(made), str(tmp_path / "gone")], cwd=away, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    for how in ("flow", "tokens"):
        assert np.allclose(chunk[how], told[how], atol=1e-5)
    results = json.loads((away / "out.json").read_text())
    assert [w["episodes"] for w in results["world"]] == [2, 2]
    assert results["vqa"]["questions"] == 2
    assert {a["embodiment"] for a in results["actions"]} == {"planar"}  # as --embodiments asks
    assert (away / "export" / "model.safetensors").is_file()


def test_the_docstring_of_a_player_is_true(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "RUN").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(Player) or ""
    lines = textwrap.dedent(text.split("runs it):\n")[1].split("\nAttributes:")[0]).strip().splitlines()
    assert len(lines) <= 10
    known: dict[str, Any] = {"Player": Player, "Path": Path, "np": np}
    for line in lines:
        code, _, wanted = line.partition("# -> ")
        if wanted:
            assert eval(code, known) == eval(wanted), line
        else:
            exec(code, known)


def test_a_player_knows_the_robots_of_the_shards(chain: Chain, player: Player) -> None:
    from pipelines.shards import ShardReader

    assert player.batch == 1
    for source in ShardReader(str(chain.shards)).manifest.sources.values():
        if source.robot:
            robot = player.robot(source.embodiment_name)
            for name in ("horizon", "action_dim", "action_names", "state_names", "control_hz", "cameras"):
                assert getattr(robot, name) == getattr(source, name), name


@pytest.mark.parametrize("how", [{"transform": "basis"}, {"mode": "published", "scale": 30.0}])
def test_tokens_of_every_tokenizer_make_whole_chunks(
    chain: Chain, player: Player, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    """Each of several embodiments may have a transform of its own, and an id of a published tokenizer may be a single byte."""
    tok = fit_tokenizer(open_episodes(str(chain.index)), FitConfig(vocab_size=300, seconds=1.0, **how))[0]
    ours = player.encoder
    encoder = Encoder(ours.robots, ours.text, player.config, ours.data, tok)
    assert encoder.most_tokens("arm", 20, 7) == tok.completions(20, 7, "arm").most >= 140
    ok = []
    chunk = encoder.chunk

    def whole(*args: Any) -> Any:
        decoded = chunk(*args)
        ok.append(decoded[1])
        return decoded

    monkeypatch.setattr(encoder, "chunk", whole)
    other = dataclasses.replace(player, encoder=encoder)
    assert other.act("arm", ["push"], [SEEN], "tokens").shape == (1, 20, 7)
    assert ok == [True]


def test_tokens_without_a_gripper_do_not_act(player: Player) -> None:
    tok, ours = player.encoder.tok, player.encoder
    omitting = {name: dataclasses.replace(what, gripper="omit") for name, what in tok.embodiments.items()}
    without = dataclasses.replace(tok, embodiments=omitting)
    encoder = Encoder(ours.robots, ours.text, player.config, ours.data, without)
    with pytest.raises(InputError, match=r"tokens of planar, arm are no whole actions; act by flow"):
        dataclasses.replace(player, encoder=encoder).act("arm", ["push"], [SEEN], "tokens")


def test_what_a_policy_takes_of_the_first_source_is_said(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    robots = Player.load(tmp_path / "run").encoder.robots
    assert "note: the sources" not in caplog.text
    (first, robot), *_ = robots.robots.items()
    small = dataclasses.replace(robot, horizon=4, control_hz=5, resize=Resize(48, 64))
    dataclasses.replace(robots, robots={**robots.robots, "small": small}).save(tmp_path / "run" / "robots.json")
    assert Player.load(tmp_path / "run").robot(robot.embodiment).horizon == robot.horizon
    [note] = [record.message for record in caplog.records if "note: the sources" in record.message]
    assert f"sources of embodiment {robot.embodiment} differ, and a policy acts as source {first}: small has" in note
    assert f"small has control_hz 5 and not {robot.control_hz}; small has horizon 4 and not {robot.horizon}; " in note
    assert "small has resize 64 x 48 (inside, quality 95) and not none." in note


def test_chunks_of_two_lengths_are_not_predicted_together(player: Player) -> None:
    examples = [Example({}, [1, 2], [], True, horizon=horizon, dim=3) for horizon in (4, 8)]
    for decode in DECODINGS:
        with pytest.raises(InputError, match="chunks of 4, 8 steps, expected one length"):
            player.predict(examples, "planar", decode)


TWO_LENGTHS = """
chunk: {seconds: 1.0}
sources:
  - {name: short, dataset: tabletop_planar, weight: 1, chunk: {seconds: 0.5}}
  - {name: long, dataset: tabletop_planar, weight: 1}
"""


@pytest.mark.slow
def test_a_robot_whose_sources_have_chunks_of_two_lengths_is_measured(chain: Chain, tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(TWO_LENGTHS)
    index, tokenizer, shards = str(chain.index), str(chain.tokenizer), tmp_path / "shards"
    run_build(BuildConfig(str(tmp_path / "two.yaml"), str(shards), 60, index, tokenizer, shards=1), [])
    run(dataclasses.replace(config(chain, tmp_path / "run", steps=1), shards=shards))
    players = [Player.load(tmp_path / "run", batch=batch) for batch in (8, 1)]
    assert [robot.horizon for robot in players[0].encoder.robots.robots.values()] == [5, 10]
    (together,), (alone,) = (action_errors(player, shards, 16, "tokens") for player in players)
    np.testing.assert_allclose(together.rmse, alone.rmse, rtol=1e-4)  # greedy tokens do not depend on the batch
    (by_flow,) = action_errors(players[0], shards, 16, "flow")
    assert by_flow.rows == together.rows == 16
    assert np.isfinite(by_flow.nrmse)


REPEATED = """
chunk: {seconds: 1.0}
sources:
  - {dataset: tabletop_planar, weight: 1, filters: {records: 1}}
"""


def test_a_held_out_row_that_the_shards_repeat_is_compared_once(player: Player, chain: Chain, tmp_path: Path) -> None:
    (tmp_path / "repeated.yaml").write_text(REPEATED)
    index, tokenizer, shards = str(chain.index), str(chain.tokenizer), tmp_path / "shards"
    run_build(BuildConfig(str(tmp_path / "repeated.yaml"), str(shards), 90, index, tokenizer, shards=1), [])
    reader = ShardReader(str(shards))
    distinct = {reader.row(i)["sample_id"].rpartition("/")[0] for i in range(reader.num_rows)}  # without the repeat
    assert len(distinct) < 90 == reader.num_rows
    (found,) = action_errors(player, shards, 90, "flow", draws=1)
    assert found.rows == len(distinct)


def test_the_time_of_a_chunk_is_that_in_a_whole_batch_without_compiling(
    player: Player, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first prediction compiles, and fewer rows than a batch take as long as a batch, because they are filled up."""
    now, took = [0.0], iter([10.0, *[0.5] * 9])

    def predict(examples: list[Any], *_: Any) -> np.ndarray:
        now[0] += next(took)
        return np.zeros((len(examples), examples[0].horizon, examples[0].dim))

    of_four = dataclasses.replace(player, batch=4)
    monkeypatch.setattr(of_four, "predict", predict)
    monkeypatch.setattr(open_loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    (found,) = action_errors(of_four, chain.shards, 3, "flow", draws=3, embodiments=["arm"])
    assert (found.rows, found.ms_per_chunk) == (3, 125.0)


def test_held_out_rows_in_which_nothing_moves_measure_nothing(
    player: Player, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their error over the spread was 0, as if every prediction were right."""
    monkeypatch.setattr(
        open_loop, "demonstrated", lambda row, example: np.ones((example.steps, example.dim), np.float32)
    )
    with pytest.raises(InputError, match=r"no action dimension moves in the 2 held-out rows.*give other shards"):
        action_errors(player, chain.shards, 2, "flow", draws=1)


def test_one_camera_less_is_masked_and_the_others_count(player: Player) -> None:
    """As in training on rows without it: the pixels of an absent camera play no part."""
    black = SEEN | {"image/wrist": np.zeros((48, 64, 3), np.uint8)}
    without = {name: value for name, value in SEEN.items() if name != "image/wrist"}
    rng = player.key
    chunks = []
    for seen in (SEEN, black, without):
        player.key = rng
        chunks.append(player.act("arm", ["push"], [seen])[0])
    assert chunks[0].shape == (player.horizon("arm"), 7)
    assert not np.array_equal(chunks[1], chunks[2])


def test_an_instruction_has_its_spaces_as_a_build_leaves_them(player: Player) -> None:
    assert player.row("arm", " push\tthe  red\ncircle\n", SEEN).task == "push the red circle"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image/primary": None, "image/wrist": None}, r"images none; expected image/primary, image/wrist"),
        ({"image/wrist": None, "image/wirst": SEEN["image/wrist"]}, r"image/wirst; expected image/primary, image/wrist"),
        ({"image/primary": np.zeros((64, 64, 3), np.float32)}, r"float32 of shape \(64, 64, 3\); expected \(h, w, 3\) uint8"),
        ({"image/primary": np.zeros((3, 64, 64), np.uint8)}, r"uint8 of shape \(3, 64, 64\); expected \(h, w, 3\)"),
        ({"image/primary": np.zeros((64, 64), np.uint8)}, r"shape \(64, 64\); expected"),
        ({"image/primary": np.zeros((0, 64, 3), np.uint8)}, r"shape \(0, 64, 3\); expected"),
        ({"state": None}, r"has no state; expected 7 finite numbers"),
        ({"state": np.zeros(3)}, r"shape \(3,\); expected 7"),
        ({"state": np.zeros((1, 7))}, r"shape \(1, 7\); expected 7"),
        ({"state": np.array(["a"] * 7)}, r"<U1 of shape"),
        ({"state": np.array([0, 1, 2, 3, 4, 5, np.nan])}, r"nan\]; expected 7 finite"),
    ],
)  # fmt: skip
def test_what_is_no_observation_is_refused(player: Player, change: dict[str, Any], told: str) -> None:
    seen = {name: value for name, value in (SEEN | change).items() if value is not None}
    with pytest.raises(InputError, match=told):
        player.act("arm", ["push"], [seen])


def test_what_are_no_lists_is_refused(player: Player) -> None:
    wrong: list[Any] = [("push", [SEEN]), (["push"], SEEN), (["push"], []), ([3], [SEEN])]
    for tasks, seen in wrong:
        with pytest.raises(InputError, match="n instructions and n observations"):
            player.act("arm", tasks, seen)
    how: Any = "flwo"
    with pytest.raises(InputError, match="'flwo'; did you mean 'flow'"):
        player.act("arm", ["push"], [SEEN], how)
    with pytest.raises(InputError, match="embodiment 'leg'; it knows planar, arm"):
        player.act("leg", ["push"], [SEEN])
    assert player.act("arm", [], []).shape == (0, player.horizon("arm"), 7)


def test_rows_side_by_side_are_the_same_rows(trained: Path) -> None:
    """However many are computed at once: tokens are greedy, so nothing is drawn."""
    other = SEEN | {"state": np.ones(7, np.float32)}
    tasks, seen = ["push", "push the red circle", "push"], [SEEN, other, other]
    one, many = (Player.load(trained, batch=batch).act("arm", tasks, seen, "tokens") for batch in (1, 2))
    assert np.array_equal(one, many)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: f.update(format_version=2), "written by a newer fasttok"),
        (lambda f: f.update(places=["/etc"]), "unknown key"),
        (lambda f: f.pop("slots"), "slots"),
        (lambda f: f.update(slots=["primary"]), "slots are primary; expected 2"),
        (lambda f: f.update(slots=["wrist", "primary"]), "in that order"),
        (lambda f: f.update(bgr={"x": ["nose"]}), "unknown slot 'nose'"),
        (lambda f: first(f).update(horizon=10**9), "horizon is 1000000000, expected 1 to 20"),
        (lambda f: first(f).update(horizon=0), "horizon is 0"),
        (lambda f: first(f).update(horizon="ten"), "Expected `int`"),
        (lambda f: first(f).update(action_dim=2), "action_encoding is 3, expected 2"),
        (lambda f: first(f).update(state_names=[]), "state_names is 0, expected 3"),
        (lambda f: first(f).update(control_hz=float("nan")), "control_hz is nan"),
        (lambda f: first(f).update(cameras=["primary", "primary"]), "named twice"),
        (lambda f: first(f).update(embodiment="leg"), "no statistics for embodiment 'leg'"),
        (lambda f: first(f).update(resize={"height": 0, "width": 5}), "resize is 0 x 5"),
        (lambda f: first(f).update(representation={"pieces": []}), "representation: it makes 0 columns"),
        (lambda f: first(f).update(representation={"pieces": [{"start": 4, "width": 1, "encoding": "delta"}]}), "no piece"),
    ],
)  # fmt: skip
def test_a_damaged_or_foreign_robots_file_is_refused(trained: Path, tmp_path: Path, change: Any, told: str) -> None:
    from train.acting.robots import check_statistics
    from train.runs.run_folder import SavedRun

    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    file = tmp_path / "run" / "robots.json"
    raw = json.loads(file.read_text())
    change(raw)
    file.write_text(json.dumps(raw))
    tok = ActionTokenizer.load(trained / "tokenizer")
    with pytest.raises(InputError, match=told):
        check_statistics(SavedRun.load(tmp_path / "run").robots, tok)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format_version": 1}', "\xff"])
def test_what_is_no_robots_file_is_refused(trained: Path, tmp_path: Path, text: str) -> None:
    from train.runs.run_folder import SavedRun

    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    (tmp_path / "run" / "robots.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"robots\.json"):
        SavedRun.load(tmp_path / "run")


def first(raw: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(raw["robots"].values()))
    return found


@pytest.mark.parametrize(
    "target", ["red", "the small red circle in the upper left corner, next to the blue square and below the green star"]
)
def test_long_answers_are_right_if_they_are_the_target(
    chain: Chain, player: Player, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """A model that says the target is right; one that says more is wrong, as its answer is not cut to the target."""
    folder = shutil.copytree(chain.data / "tabletop_vqa", tmp_path / "vqa")
    entry = yaml.safe_load((folder / "dataset.yaml").read_text())
    file = folder / entry["splits"]["val"]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("\n".join(json.dumps(line | {entry["target"]: target}) for line in lines))
    said = player.encoder.text.encode([target])[0]
    assert (len(said) > ANSWER_TOKENS) == (target != "red")

    def says(ids: list[int]) -> float:
        def generated(_params: Any, _config: Any, _batch: Any, most: int, *_: Any) -> list[list[int]]:
            return [ids[:most]] * player.batch

        monkeypatch.setattr(policy, "generate", generated)
        return answer_questions(player, folder, 400).accuracy

    assert says(said) == 1
    assert says([*said, said[0]]) == 0


@pytest.mark.parametrize(
    ("lines", "keys", "says"),
    [
        ("LINE\n\n  \nLINE\n", {}, 2),
        ("LINE", {"images": "{split}_pictures"}, 1),
        ("LINE", {"name": "told"}, 1),
        ("LINE", {"prompt": None, "fixed_prompt": "what is it?"}, 1),
        ("KINDS", {}, 1),
        (json.dumps({"image": ["a.png"], "question": "what is it?", "answer": [3, "red", "red"]}), {}, 1),
        (
            json.dumps({"image": "a.png", "question": "what is it?", "all": [{"answer": "red"}]}),
            {"target": None, "answers": "all"},
            1,
        ),
        ("LINE", {"splits": {"val": "v*.jsonl"}}, 1),
        ("LINE", {"splits": {"val": "w*.jsonl"}}, r"split val has no file w\*\.jsonl"),
        ("\n", {}, "no question that can be asked, and 0 that cannot"),
        ("LINE\n{\n", {}, 1),
        ("{\n", {}, r"and 1 that cannot; the first is .*val\.jsonl, record 0"),
        ("LINE", {"splits": {"train": "val.jsonl"}}, "unknown split 'val'"),
        ("LINE", {"kind": "caption", "prompt": None, "fixed_prompt": "say"}, "has kind caption; expected questions"),
        ("LINE", {"prompt": None}, "needs 'prompt', or 'fixed_prompt'"),
    ],
)
def test_questions_are_read_as_an_index_reads_them(
    player: Player, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, keys: dict[str, Any], says: int | str
) -> None:
    own = {"name": "asked", "kind": "vqa", "splits": {"val": "val.jsonl"}, "prompt": "question", "target": "answer"}
    entry = own | keys
    entry = {key: value for key, value in entry.items() if value is not None}
    pictures = tmp_path / entry.get("images", "images").replace("{split}", "val")
    pictures.mkdir()
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "PNG")
    (pictures / "a.png").write_bytes(picture.getvalue())
    line = {"image": "a.png", "question": "what is it?", "answer": "red "}
    written = lines.replace("LINE", json.dumps(line)).replace("KINDS", json.dumps(line | {"kind": ["a list"]}))
    (tmp_path / "val.jsonl").write_text(written)
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(entry))
    asked: list[tuple[str, bytes]] = []

    def answers(_: Player, prompts: list[str], images: list[bytes], most: int, located: list[bool]) -> list[str]:
        asked.extend(zip(prompts, images, strict=True))
        return ["red"] * len(prompts)

    monkeypatch.setattr(Player, "answer", answers)
    player = dataclasses.replace(player, encoder=copy.copy(player.encoder))
    player.encoder.robots = dataclasses.replace(
        player.encoder.robots, asked={"told": QuestionForm(prompts=("answer en {prompt}",))}
    )
    if isinstance(says, str):
        with pytest.raises(InputError, match=says):
            answer_questions(player, tmp_path, 400)
        return
    found = answer_questions(player, tmp_path, 400)
    assert (found.questions, found.accuracy) == (says, 1)
    words = "answer en what is it?" if entry["name"] == "told" else "what is it?"
    assert asked == [(words, picture.getvalue())] * says


def test_differences_to_a_position_that_no_state_tells_are_no_actions(player: Player) -> None:
    """A chunk of them would begin at 0, wherever the arm is."""
    pieces = (ActionColumns(0, 6, "absolute"), ActionColumns(6, 1, "gripper"))
    form = Representation(form="delta", pieces=pieces)
    encoder = copy.copy(player.encoder)
    robots = {
        name: dataclasses.replace(robot, representation=form) if robot.embodiment == "arm" else robot
        for name, robot in encoder.robots.robots.items()
    }
    encoder.robots = dataclasses.replace(encoder.robots, robots=robots)
    blind = dataclasses.replace(player, encoder=encoder)
    says = r"its state does not have action dims 0, 1, 2, 3, 4, 5, so nothing says where they begin"
    with pytest.raises(InputError, match=says):
        blind.act("arm", ["lift it"], [SEEN])
    with pytest.raises(InputError, match=says):
        RunPolicy(blind, KeyMap.load("ours"), "arm", ("flow",), 1, False)
    assert not any("form: delta" in note for note in acting_notes(encoder.robots))
    known = dataclasses.replace(form, pieces=(dataclasses.replace(pieces[0], state=tuple(range(6))), pieces[1]))
    robots = {name: dataclasses.replace(robot, representation=known) for name, robot in robots.items()}
    assert any("(form: delta)" in note for note in acting_notes(dataclasses.replace(encoder.robots, robots=robots)))


def test_colours_of_questions_about_a_robot_are_turned_too(chain: Chain, player: Player) -> None:
    """A source of questions about a dataset whose channels are stored reversed: its rows are no robot rows, its colours are."""
    from pipelines.shards import ShardReader
    from train.examples import Encoder

    reader, ours = ShardReader(str(chain.shards)), player.encoder
    robots = dataclasses.replace(ours.robots, bgr={"tabletop_vqa": ("primary",)})
    encoder = Encoder(robots, ours.text, player.config, ours.data, ours.tok)
    row = next(row for row in map(reader.row, range(700)) if row["source"] == "tabletop_vqa")
    turned, plain = (player.batcher([e.row(row)])["images"] for e in (encoder, ours))
    assert np.array_equal(turned, plain[..., ::-1])
    assert not np.array_equal(turned, plain)


def test_a_frame_goes_through_what_training_images_went_through(player: Player) -> None:
    from fasttok.common.images import decoded, opened
    from mixtures.spec import ImageEncoding, Resize
    from train.acting.observations import encoded

    frame, robot = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8), player.robot("arm")
    assert opened(encoded(frame, robot)).format == "JPEG"
    sized = dataclasses.replace(robot, resize=Resize(32, 32, "stretch", 80))
    assert opened(encoded(frame, sized)).size == (32, 32)
    assert opened(encoded(frame, dataclasses.replace(robot, resize=Resize(32, 32, "inside")))).size == (32, 24)
    png = dataclasses.replace(robot, encode=ImageEncoding("png"))
    assert np.array_equal(np.asarray(decoded(opened(encoded(frame, png)))), frame)
