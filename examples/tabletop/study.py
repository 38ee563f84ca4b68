"""Data of the tabletop studies: demonstrations, questions and captions as shards, with several shares of questions.

    fasttok-study STUDY --env examples.tabletop.env:make_vector --data examples.tabletop.study:prepare

Every stage is the public command that a user would type.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from examples.commands import call
from examples.tabletop.scenes import CORRELATION
from fasttok.common.console import err
from fasttok.errors import InputError

EPISODES, VQA, CAPTIONS = 8000, 60_000, 4000
SMALL = (24, 200, 60)
SAMPLES = 200_000
VLM_SHARE = 30  # per cent of rows, in shards that do not say
WEB = "web"
NAMES = re.compile(r"shards|web|(?:demos_(?P<demos>\d+))?_?(?:vlm_(?P<vlm>\d+))?")

MIXTURE = """name: {name}
description: {what}
tokenizer: fit
chunk: {{seconds: 1.0}}
unit: samples
seed: 0
sources:
"""
SOURCE = "  - {{dataset: {dataset}, weight: {weight}, split: {split}}}\n"
# The VLM's data hold some robot rows, which it does not learn from: the text tokenizer sees their words.
BEFORE = {"tabletop_vqa": 75, "tabletop_captions": 15, "tabletop_planar": 10}


def prepare(
    out: Path, shards: Sequence[str], smoke: bool = False, task: str = "", correlation: float = CORRELATION
) -> None:
    """Makes what is not there: OUT/NAME for each of `shards`, OUT/held_out (other episodes), OUT/vqa.

    Args:
        out: folder of the study's data.
        shards: what to make; the names are below.
        smoke: make little of everything, for a trial run.
        task: kinds of tasks to demonstrate, such as "reach+push"; all when "".
        correlation: as of `generate`.

    Names: `web` (questions and captions, for the base VLM), `shards` (30 % questions), `vlm_10` (10 % of them), `demos_1000`
    (1,000 demonstrations), `demos_1000_vlm_0`.

    Raises:
        InputError: another name, or a stage failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    episodes, vqa, captions = SMALL if smoke else (EPISODES, VQA, CAPTIONS)
    samples = 600 if smoke else SAMPLES
    how = f"--correlation {correlation}" + (f" --task {task}" if task else "")
    _generate(out, "world", episodes, vqa, captions, how)
    _index(out, "world", "world", "index")
    if not (out / "tokenizer").exists():
        _run(out, "fasttok fit index --out tokenizer --seconds 1.0 --vocab-size 512")
    if not (out / "vqa").exists():
        (out / "vqa").symlink_to(Path("world") / "tabletop_vqa")
    for name in shards:
        found = NAMES.fullmatch(name)
        if not found or not name:
            raise InputError(
                f"no shards {name!r}; expected web, shards, vlm_PERCENT, demos_NUMBER or demos_NUMBER_vlm_PERCENT"
            )
        index = "index"
        if found["demos"]:
            index = f"index_{found['demos']}"
            _generate(out, f"world_{found['demos']}", int(found["demos"]), 4, 4, how)
            _index(out, f"world_{found['demos']}", "world", index)
        vlm = VLM_SHARE if found["vlm"] is None else int(found["vlm"])
        weights = BEFORE if name == WEB else {"tabletop_planar": 100 - vlm, "tabletop_vqa": vlm}
        _build(out, name, index, weights, samples, "train")
    _build(out, "held_out", "index", {"tabletop_planar": 100}, 400 if smoke else 4000, "val")


def _generate(out: Path, world: str, episodes: int, vqa: int, captions: int, how: str) -> None:
    if (out / world).exists():
        return
    hidden = out / f".{world}.part"
    shutil.rmtree(hidden, ignore_errors=True)
    counts = f"--embodiments planar --episodes {episodes} --vqa {vqa} --captions {captions}"
    _run(out, f"python -m examples.tabletop.generate --out {hidden.name} {counts} {how}")
    hidden.rename(out / world)


def _index(out: Path, robots: str, web: str, index: str) -> None:
    if not (out / index / "index.json").is_file():
        _run(
            out,
            f"fasttok-pipelines index {robots}/tabletop_planar/1.0.0 {web}/tabletop_vqa {web}/tabletop_captions --out {index}",
        )


def _build(out: Path, name: str, index: str, weights: dict[str, int], samples: int, split: str) -> None:
    if (out / name / "manifest.json").is_file():
        return
    what = ", ".join(f"{weight} % {dataset}" for dataset, weight in weights.items() if weight)
    sources = [SOURCE.format(dataset=d, weight=w, split=split) for d, w in weights.items() if w]
    (out / f"{name}.yaml").write_text(MIXTURE.format(name=name, what=what) + "".join(sources), encoding="utf-8")
    _run(
        out,
        f"fasttok-pipelines build {name}.yaml --index {index} --tokenizer tokenizer --out {name} --samples {samples} --shards 4",
    )


def _run(folder: Path, command: str) -> None:
    err.rule(f"[bold]{command}", align="left")
    call(command, folder)
