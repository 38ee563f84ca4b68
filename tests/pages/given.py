"""What a page's commands and blocks find in the folder in which they run: small data under the names that readers see."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from examples.commands import environment
from examples.my_robot import record
from tests.chain import Chain
from tests.pages.blocks import ROOT

ONE_ROBOT = ("docs/fasttok.md",)  # pages whose INDEX has one robot, so that no command asks which one is meant
SERVES = ("docs/robot.md",)  # pages that start a server and ask it
ONLY_ON = {"my.yaml": ("docs/mixtures.md",)}  # names that are other things on other pages
# What a page's Python blocks are given, before the first of them: the reader's own arrays and functions.
BEFORE = {
    "docs/check.md": """
import numpy as np
states = [np.cumsum(np.random.default_rng(i).normal(size=(40, 3)), axis=0) for i in range(4)]
actions = [np.diff(state, axis=0, append=state[-1:]) for state in states]
""",
    "docs/fasttok.md": """
import numpy as np
from fasttok import ActionTokenizer, NormStats
chunks = np.cumsum(np.random.default_rng(0).normal(size=(200, 20, 7)), axis=1) / 10
stats = NormStats.fit(chunks.reshape(-1, 7))
ActionTokenizer.fit(chunks, vocab_size=400, stats=stats).save("TOKENIZER", overwrite=True)
chunks = chunks[:4]
np.savez("chunks.npz", actions=chunks)
""",
    "docs/reading.md": "checkpoint = print",
    "docs/train.md": """
from pathlib import Path
import numpy as np
from train.player import Player
frame, state = np.zeros((64, 64, 3), np.uint8), np.zeros(3, np.float32)
""",
    "docs/world.md": "import numpy as np\nactions = np.zeros((256, 7), np.float32)",
    "docs/worlds.md": "from train.worlds.gymnasium import GymnasiumWorld",
}


def makers(chain: Chain) -> dict[str, Callable[[Path], None]]:
    """Name -> what puts it at a path. What commands only read is a link."""

    def link(target: Path) -> Callable[[Path], None]:
        return lambda place: place.symlink_to(target)

    def robot(place: Path) -> None:
        record(str(place), episodes=12)

    def chunks(place: Path) -> None:
        np.savez(place, actions=np.zeros((4, 10, 3)))

    def mixture(place: Path) -> None:
        shutil.copy(ROOT / "mixtures" / "presets" / "demo.yaml", place)

    return {
        "INDEX": link(chain.index),
        "TOKENIZER": link(chain.tokenizer),
        "SHARDS": link(chain.shards),
        "shards": link(chain.shards),
        "benchmarks": link(ROOT / "benchmarks"),
        "my_robot": robot,
        "chunks.npz": chunks,
        "my.yaml": mixture,
    }


def commands_environment(folder: Path) -> dict[str, str]:
    """The environment of a page's commands: no network is asked, scripts beside this interpreter are found."""
    ours = environment()
    return {
        **ours,
        "PATH": f"{Path(sys.executable).parent}:{ours['PATH']}",
        "JAX_PLATFORMS": "cpu",
        "HOME": str(folder),
    }
