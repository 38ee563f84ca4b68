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
MANNERS = {
    "steady": "--no-tremor",
    "prompt": "--no-pauses",
    "predictable": "--no-tremor --no-bends --no-pauses --constant-pace",
}  # of the demonstrations: options of `examples.tabletop.generate`
NAMES = re.compile(
    rf"(?P<held_out>held_out)?(?:_?(?P<manner>{'|'.join(MANNERS)}))?(?:_?scale_(?P<scale>[1-9]\d*))?"
    r"(?:_?demos_(?P<demos>[1-9]\d*))?(?:_?vlm_(?P<vlm>\d+))?"
)

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

    Names: `web` (questions and captions, for the base VLM); `shards` (30 % questions); `vlm_10` (10 % of them); `demos_1000`
    (1,000 demonstrations); `predictable`, `steady` (without tremor), `prompt` (without pauses): demonstrations in another manner
    (`MANNERS`), with a tokenizer of their own; `scale_3`: a coarser tokenizer; and these together in this order, as in
    `predictable_scale_3_demos_1000_vlm_0`. `held_out_predictable`: other episodes in that manner.

    Args:
        out: folder of the study's data.
        shards: names of what to make.
        smoke: make little of everything, for a trial run.
        task: kinds of tasks to demonstrate, such as "reach+push"; all when "".
        correlation: as of `generate`.

    Raises:
        InputError: another name, or a stage failed.
    """
    names = {name: _parts_of(name) for name in [*shards, "held_out"]}
    out.mkdir(parents=True, exist_ok=True)
    episodes, vqa, captions = SMALL if smoke else (EPISODES, VQA, CAPTIONS)
    samples = 600 if smoke else SAMPLES
    how = f"--correlation {correlation}" + (f" --task {task}" if task else "")
    _generate(out, "world", episodes, vqa, captions, how)
    _index(out, "world", "index")
    _tokenizer(out, "index", "tokenizer")
    if not (out / "vqa").exists():
        (out / "vqa").symlink_to(Path("world") / "tabletop_vqa")
    for name, found in names.items():
        manner, scale, demos = found["manner"], found["scale"], found["demos"]
        index, tokenizer = "index", "tokenizer"
        if manner or demos:
            world = "_".join(filter(None, ["world", manner, demos]))
            _generate(out, world, int(demos or episodes), 4, 4, f"{how} {MANNERS[manner]}" if manner else how)
            index = world.replace("world", "index")
            _index(out, world, index)
        if manner or scale:
            fitted_on = index if manner else "index"
            tokenizer = fitted_on.replace("index", "tokenizer") + (f"_scale_{scale}" if scale else "")
            _tokenizer(out, fitted_on, tokenizer, scale)
        if found["held_out"]:
            _build(out, name, index, tokenizer, {"tabletop_planar": 100}, 400 if smoke else 4000)
            continue
        vlm = VLM_SHARE if found["vlm"] is None else int(found["vlm"])
        weights = BEFORE if name == WEB else {"tabletop_planar": 100 - vlm, "tabletop_vqa": vlm}
        _build(out, name, index, tokenizer, weights, samples)


def _parts_of(name: str) -> dict[str, str | None]:
    """What the name of some shards says.

    Raises:
        InputError: it says nothing.

    >>> _parts_of("predictable_demos_1000")["demos"], _parts_of("shards")["demos"]
    ('1000', None)
    """
    found = NAMES.fullmatch("" if name in (WEB, "shards") else name)
    if not found or not name or (found["held_out"] and found["vlm"]):
        raise InputError(
            f"no shards {name!r}; expected web, shards, or some of {', '.join(MANNERS)}, scale_NUMBER, demos_NUMBER and "
            "vlm_PERCENT in this order, joined by _, such as demos_1000_vlm_0 (held_out_... without vlm_PERCENT)"
        )
    return found.groupdict()


def _generate(out: Path, world: str, episodes: int, vqa: int, captions: int, how: str) -> None:
    if (out / world).exists():
        return
    hidden = out / f".{world}.part"
    shutil.rmtree(hidden, ignore_errors=True)
    counts = f"--embodiments planar --episodes {episodes} --vqa {vqa} --captions {captions}"
    _run(out, f"python -m examples.tabletop.generate --out {hidden.name} {counts} {how}")
    hidden.rename(out / world)


def _index(out: Path, robots: str, index: str) -> None:
    if not (out / index / "index.json").is_file():
        _run(
            out,
            f"fasttok-pipelines index {robots}/tabletop_planar/1.0.0 world/tabletop_vqa world/tabletop_captions --out {index}",
        )


def _tokenizer(out: Path, index: str, tokenizer: str, scale: str | None = None) -> None:
    if not (out / tokenizer).exists():
        coarse = f" --scale {scale}" if scale else ""
        _run(out, f"fasttok fit {index} --out {tokenizer} --seconds 1.0 --vocab-size 512{coarse}")


def _build(out: Path, name: str, index: str, tokenizer: str, weights: dict[str, int], samples: int) -> None:
    if (out / name / "manifest.json").is_file():
        return
    what = ", ".join(f"{weight} % {dataset}" for dataset, weight in weights.items() if weight)
    split = "val" if name.startswith("held_out") else "train"
    sources = [SOURCE.format(dataset=d, weight=w, split=split) for d, w in weights.items() if w]
    (out / f"{name}.yaml").write_text(MIXTURE.format(name=name, what=what) + "".join(sources), encoding="utf-8")
    what = f"{name}.yaml --index {index} --tokenizer {tokenizer}"
    _run(out, f"fasttok-pipelines build {what} --out {name} --samples {samples} --shards 4")


def _run(folder: Path, command: str) -> None:
    err.rule(f"[bold]{command}", align="left")
    call(command, folder)
