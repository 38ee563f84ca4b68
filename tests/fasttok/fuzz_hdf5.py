"""Damages small HDF5 files and reads them whole: run by test_hdf5.py in a process of its own, which may crash.

python -m tests.fasttok.fuzz_hdf5 WORK FIRST COUNT      prints {outcome: mutants} as JSON after each mutant
"""

import json
import resource
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from fasttok.episodes import open_episodes
from fasttok.errors import InputError
from tests.fasttok import hdf5_files as made

MEMORY = 4 << 30
SECONDS = 60
NUMBERS = (0, 1, 2**31, 2**40, 2**63, 2**64 - 1)
Rng = np.random.Generator


def damage(rng: Rng, data: bytes) -> bytes:
    """Bits flipped, bytes set to extreme numbers, pieces moved, or the end cut off."""
    found = bytearray(data)
    kind = rng.integers(5)
    if kind == 0:
        return bytes(found[: rng.integers(0, len(found))])
    head = int(rng.choice([512, 4096, len(found)]))  # most of what matters lies at the beginning
    for _ in range(int(rng.integers(1, 12))):
        at = int(rng.integers(min(head, len(found))))
        if kind == 1:
            found[at] ^= 1 << rng.integers(8)
        elif kind == 2:
            found[at] = int(rng.integers(256))
        elif kind == 3:
            found[at : at + 8] = NUMBERS[rng.integers(len(NUMBERS))].to_bytes(8, "little")
        else:
            other = int(rng.integers(len(found)))
            found[at : at + 64] = found[other : other + 64]
    return bytes(found)


def outcome(path: Path) -> str:
    """What reading all of it ends in."""
    source = open_episodes(str(path))
    try:
        for episode in source:
            for frames in episode.frames.values():
                if not frames.check():
                    sum(1 for _ in frames.read())
    except InputError:
        return "an error"
    return "rejects" if source.bad else "episodes"


def main(work: Path, first: int, count: int) -> None:
    """Reads mutants FIRST to FIRST + COUNT."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    folder = work / "files"
    if not folder.exists():
        made.libero(folder / "libero")
        made.aloha(folder / "aloha", compress=True)
        made.maniskill(folder / "maniskill.h5")
        made.d4rl(folder / "d4rl.h5")
        made.robomimic(folder / "robomimic.h5")
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".h5", ".hdf5", ".json"))
    counts = Counter[str]()
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        source = files[int(rng.integers(len(files)))]
        place = work / "mutant"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for beside in {source, source.with_suffix(".json"), source.with_suffix(".h5")}:
            if beside.exists():
                shutil.copy(beside, place)
        (place / source.name).write_bytes(damage(rng, source.read_bytes()))
        signal.alarm(SECONDS)
        counts[outcome(place)] += 1
        signal.alarm(0)
        print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
