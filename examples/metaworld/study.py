"""Makes the data of the MetaWorld study: demonstrations of MT10, and questions and captions about its tables.

    fasttok-study run metaworld --env examples.metaworld.env:make --data examples.metaworld.study:prepare

Every stage is the public command that a user would type.
"""

from collections.abc import Sequence
from pathlib import Path

from examples.metaworld.robot import DATASET
from examples.metaworld.simulator import check_package
from examples.study_data import StudyData
from fasttok.errors import unknown_name

EPISODES, VQA, CAPTIONS = 50, 8000, 800  # demonstrations of each task; questions and captions of all tasks
SMALL = (1, 60, 20)
SAMPLES = 72_000
# The VLM's data has some robot rows, so that the text tokenizer sees their words. The VLM does not learn from them.
MIXTURES = {
    "web": {f"{DATASET}_vqa": 75, f"{DATASET}_captions": 15, DATASET: 10},
    "shards": {DATASET: 70, f"{DATASET}_vqa": 30},
}


def prepare(out: Path, shards: Sequence[str], smoke: bool = False) -> None:
    """Makes what does not exist yet: OUT/NAME for each of `shards`, OUT/held_out (other episodes) and OUT/vqa.

    Args:
        out: folder of the study's data.
        shards: names: `web` (questions and captions, for the base VLM), `shards` (demonstrations, and 30 % questions).
        smoke: make little of everything, for a trial run.

    Raises:
        InputError: a name is unknown, MetaWorld is missing or cannot draw, or a stage failed.
    """
    for name in shards:
        if name not in MIXTURES:
            raise unknown_name("shards", name, list(MIXTURES))
    check_package()
    out.mkdir(parents=True, exist_ok=True)
    data = StudyData(out, seconds=0.25, vocab_size=256)
    episodes, vqa, captions = SMALL if smoke else (EPISODES, VQA, CAPTIONS)
    counts = f"--episodes {episodes} --vqa {vqa} --captions {captions}"
    data.generate("world", f"python -m examples.metaworld.generate --tasks mt10 {counts}")
    data.index("index", [f"world/{DATASET}/1.0.0", f"world/{DATASET}_vqa", f"world/{DATASET}_captions"])
    data.tokenizer("tokenizer", "index")
    data.link("vqa", Path("world") / f"{DATASET}_vqa")
    for name in shards:
        data.shards(name, MIXTURES[name], "index", "tokenizer", 600 if smoke else SAMPLES)
    data.shards("held_out", {DATASET: 100}, "index", "tokenizer", 400 if smoke else 2000, split="val")
