"""Data of the tabletop studies: demonstrations, questions and captions as shards with several shares of VLM data.

    python -m train.study STUDY --env examples.tabletop.env:make_vector --data examples.tabletop.study:prepare

Every stage is the public command that a user would type.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from examples.commands import call
from fasttok.console import err
from fasttok.errors import InputError

EPISODES, VQA, CAPTIONS = 8000, 60_000, 15_000
SMALL = (24, 200, 60)
SAMPLES = 200_000
VLM_SHARE = 30  # per cent of rows, in shards that do not say
NAMES = re.compile(r"shards|(?:demos_(?P<demos>\d+))?_?(?:vlm_(?P<vlm>\d+))?")

MIXTURE = """name: {name}
description: planar tabletop robot with {vlm} % of questions and captions
tokenizer: fit
chunk: {{seconds: 1.0}}
unit: samples
seed: 0
sources:
"""
ROBOT = "  - {{dataset: tabletop_planar, weight: {weight}, split: {split}}}\n"
WEB = """  - group: web
    weight: {weight}
    sources:
      - {{dataset: tabletop_vqa, weight: 2, split: {split}}}
      - {{dataset: tabletop_captions, weight: 1, split: {split}}}
"""


def prepare(out: Path, shards: Sequence[str], smoke: bool = False, task: str = "") -> None:
    """Makes what is not there: OUT/NAME for each of `shards`, OUT/held_out (other episodes), OUT/vqa.

    Args:
        task: kinds of tasks to demonstrate, such as "reach+push"; all when "".

    Names: `shards` (30 % VLM data), `vlm_10` (10 % of it), `demos_1000` (1,000 demonstrations), `demos_1000_vlm_0`.

    Raises:
        InputError: another name, or a stage failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    episodes, vqa, captions = SMALL if smoke else (EPISODES, VQA, CAPTIONS)
    samples = 600 if smoke else SAMPLES
    _generate(out, "world", episodes, vqa, captions, task)
    _index(out, "world", "world", "index")
    if not (out / "tokenizer").exists():
        _run(out, "fasttok.cli fit index --out tokenizer --seconds 1.0 --vocab-size 512")
    if not (out / "vqa").exists():
        (out / "vqa").symlink_to(Path("world") / "tabletop_vqa")
    for name in shards:
        found = NAMES.fullmatch(name)
        if not found or not name:
            raise InputError(
                f"no shards {name!r}; expected shards, vlm_PERCENT, demos_NUMBER or demos_NUMBER_vlm_PERCENT"
            )
        index = "index"
        if found["demos"]:
            index = f"index_{found['demos']}"
            _generate(out, f"world_{found['demos']}", int(found["demos"]), 4, 4, task)
            _index(out, f"world_{found['demos']}", "world", index)
        vlm = VLM_SHARE if found["vlm"] is None else int(found["vlm"])
        _build(out, name, index, vlm, samples, "train")
    _build(out, "held_out", "index", 0, 400 if smoke else 4000, "val")


def _generate(out: Path, world: str, episodes: int, vqa: int, captions: int, task: str) -> None:
    if (out / world).exists():
        return
    hidden = out / f".{world}.part"
    shutil.rmtree(hidden, ignore_errors=True)
    counts = f"--embodiments planar --episodes {episodes} --vqa {vqa} --captions {captions}" + (
        f" --task {task}" if task else ""
    )
    _run(out, f"examples.tabletop.generate --out {hidden.name} {counts}")
    hidden.rename(out / world)


def _index(out: Path, robots: str, web: str, index: str) -> None:
    if not (out / index / "index.json").is_file():
        _run(
            out,
            f"pipelines index {robots}/tabletop_planar/1.0.0 {web}/tabletop_vqa {web}/tabletop_captions --out {index}",
        )


def _build(out: Path, name: str, index: str, vlm: int, samples: int, split: str) -> None:
    if (out / name / "manifest.json").is_file():
        return
    sources = [ROBOT.format(weight=100 - vlm, split=split)] if vlm < 100 else []
    sources += [WEB.format(weight=vlm, split=split)] if vlm else []
    (out / f"{name}.yaml").write_text(MIXTURE.format(name=name, vlm=vlm) + "".join(sources), encoding="utf-8")
    _run(
        out,
        f"pipelines build {name}.yaml --index {index} --tokenizer tokenizer --out {name} --samples {samples} --shards 4",
    )


def _run(folder: Path, command: str) -> None:
    err.rule(f"[bold]python -m {command}", align="left")
    call(command, folder)
