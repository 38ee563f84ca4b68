"""Makes the data of the tabletop studies: demonstrations, questions and captions as shards, with several shares of questions.

    fasttok-study STUDY --env examples.tabletop.env:make_vector --data examples.tabletop.study:prepare

Every stage is the public command that a user would type.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from examples.study_data import StudyData
from examples.tabletop.scenes import CORRELATION
from fasttok.errors import InputError

EPISODES, VQA, CAPTIONS = 8000, 60_000, 4000
SMALL = (24, 200, 60)
SAMPLES = 200_000
VLM_SHARE = 30  # share of questions in per cent of rows, in shards whose name does not say
WEB = "web"
MANNERS = {
    "steady": "--no-tremor",
    "prompt": "--no-pauses",
    "predictable": "--no-tremor --no-bends --no-pauses --constant-pace",
}  # manners of the demonstrations, as options of `examples.tabletop.generate`
NAMES = re.compile(
    rf"(?P<held_out>held_out)?(?:_?(?P<manner>{'|'.join(MANNERS)}))?(?:_?scale_(?P<scale>[1-9]\d*))?"
    r"(?:_?demos_(?P<demos>[1-9]\d*))?(?:_?vlm_(?P<vlm>\d+))?"
)

# The VLM's data has some robot rows, so that the text tokenizer sees their words. The VLM does not learn from them.
BEFORE = {"tabletop_vqa": 75, "tabletop_captions": 15, "tabletop_planar": 10}


def prepare(
    out: Path, shards: Sequence[str], smoke: bool = False, task: str = "", correlation: float = CORRELATION
) -> None:
    """Makes what does not exist yet: OUT/NAME for each of `shards`, OUT/held_out (other episodes) and OUT/vqa.

    The names of shards:

        web                             questions and captions, for the base VLM
        shards                          demonstrations, and 30 % questions
        vlm_10                          10 % questions
        demos_1000                      1,000 demonstrations
        predictable, steady, prompt     demonstrations in another manner (`MANNERS`), with a tokenizer of their own: `steady` has
                                        no tremor, `prompt` has no pauses
        scale_3                         a tokenizer with scale 3, which is coarser
        held_out_predictable            other episodes in that manner

    Parts can be joined in the order manner, scale, demos, vlm: `predictable_scale_3_demos_1000_vlm_0`.

    Args:
        out: folder of the study's data.
        shards: names of the shards to make.
        smoke: make little of everything, for a trial run.
        task: kinds of tasks to demonstrate, such as "reach+push"; "": all kinds.
        correlation: as in `generate`.

    Raises:
        InputError: a name is unknown, or a stage failed.
    """
    names = {name: _parts_of(name) for name in [*shards, "held_out"]}
    out.mkdir(parents=True, exist_ok=True)
    data = StudyData(out, seconds=1.0, vocab_size=512)
    episodes, vqa, captions = SMALL if smoke else (EPISODES, VQA, CAPTIONS)
    samples = 600 if smoke else SAMPLES
    how = f"--correlation {correlation}" + (f" --task {task}" if task else "")
    _generate(data, "world", episodes, vqa, captions, how)
    _index(data, "world", "index")
    data.tokenizer("tokenizer", "index")
    data.link("vqa", Path("world") / "tabletop_vqa")
    for name, found in names.items():
        manner, scale, demos = found["manner"], found["scale"], found["demos"]
        index, tokenizer = "index", "tokenizer"
        if manner or demos:
            world = "_".join(filter(None, ["world", manner, demos]))
            _generate(data, world, int(demos or episodes), 4, 4, f"{how} {MANNERS[manner]}" if manner else how)
            index = world.replace("world", "index")
            _index(data, world, index)
        if manner or scale:
            fitted_on = index if manner else "index"
            tokenizer = fitted_on.replace("index", "tokenizer") + (f"_scale_{scale}" if scale else "")
            data.tokenizer(tokenizer, fitted_on, f"--scale {scale}" if scale else "")
        if found["held_out"]:
            data.shards(name, {"tabletop_planar": 100}, index, tokenizer, 400 if smoke else 4000, split="val")
            continue
        vlm = VLM_SHARE if found["vlm"] is None else int(found["vlm"])
        weights = BEFORE if name == WEB else {"tabletop_planar": 100 - vlm, "tabletop_vqa": vlm}
        data.shards(name, weights, index, tokenizer, samples)


def _parts_of(name: str) -> dict[str, str | None]:
    """Splits the name of shards into its parts.

    Raises:
        InputError: the name is unknown.

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


def _generate(data: StudyData, world: str, episodes: int, vqa: int, captions: int, how: str) -> None:
    counts = f"--embodiments planar --episodes {episodes} --vqa {vqa} --captions {captions}"
    data.generate(world, f"python -m examples.tabletop.generate {counts} {how}")


def _index(data: StudyData, robots: str, index: str) -> None:
    data.index(index, [f"{robots}/tabletop_planar/1.0.0", "world/tabletop_vqa", "world/tabletop_captions"])
