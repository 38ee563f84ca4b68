"""What each reader's script does: writes its format, reads for the clock, resumes, mixes. Needs numpy and Pillow only.

A script `read_*.py` has a class with the methods of `Reader` and ends in `run(TheClass)`. It is started as

    PYTHON read_X.py TASK OPTIONS.json

in an environment that need not have our packages, and prints its findings as JSON in its last line.
"""

import io
import itertools
import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

BATCH, SIDE, BUFFER = 64, 224, 1000
WORKERS = 2
WARM = 4  # batches after the first that are not timed: until then a worker may still be starting
PER_DATASET = 1_000_000  # ids: number of the dataset * PER_DATASET + number of the step
NUMBERS = {"planar": 0, "arm": 1, "bottle": 2}  # of the datasets; their folders have these names
SHARE = 0.9  # of an epoch, after which it is interrupted


class Samples(NamedTuple):
    """A batch as a training step wants it.

    Attributes:
        ids: (BATCH,) integers, of the dataset and its step.
        images: (BATCH, 224, 224, 3) or (BATCH, 3, 224, 224) uint8.
        state: (BATCH, dims) float32.
        chunk: (BATCH, horizon, dims) float32.
    """

    ids: Any
    images: Any
    state: Any
    chunk: Any


class Loader(Protocol):
    """An opened order of samples: one epoch, or a mixture without end."""

    def __iter__(self) -> Iterator[Samples]:
        """Batches of BATCH samples; the last one of an epoch may be smaller or left out."""

    def state(self) -> Any:
        """What another process needs to go on after the batch handed out last; picklable. None: there is no such thing."""

    def restore(self, state: Any) -> None:
        """Goes on after a state; before the first batch."""


class Reader(Protocol):
    """What a script gives to `run`."""

    def write(self, source: "Source", folder: Path) -> None:
        """Writes a dataset in the reader's format."""

    def open(self, folders: Sequence[Path], order: str, weights: Sequence[float]) -> Loader:
        """Opens datasets, `order` is "sequential", "shuffled", "resumed" (shuffled, without end if it likes) or "mixture"."""


class Source:
    """Episodes as `benchmarks.loading.source` wrote them: JPEGs of 224 px and arrays.

    Attributes:
        state: (steps, dims) float32.
        action: (steps, dims) float32.
        chunk: (steps, horizon, dims) float32, the last action of an episode repeated past its end.
        episode: (steps,) the number of each step's episode.
        fps: steps a second.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with np.load(folder / "arrays.npz") as found:
            self.fps = float(found["fps"])
            self.state, self.action, self.chunk = found["state"], found["action"], found["chunk"]
            self.episode, self._ends = found["episode"], found["ends"]
        self._frames = np.memmap(folder / "frames.bin", np.uint8, "r")

    def __len__(self) -> int:
        return len(self.episode)

    def ids(self) -> Any:
        """(steps,) ids."""
        return self.id(0) + np.arange(len(self))

    def id(self, step: int) -> int:
        """The id of a step."""
        return first_id(self.folder) + step

    def jpeg(self, step: int) -> bytes:
        """The encoded image of a step."""
        start = int(self._ends[step - 1]) if step else 0
        return self._frames[start : int(self._ends[step])].tobytes()

    def episodes(self) -> Iterator[range]:
        """The steps of each episode."""
        starts = np.flatnonzero(np.r_[True, self.episode[1:] != self.episode[:-1], True]).tolist()
        yield from (range(a, b) for a, b in itertools.pairwise(starts))


def first_id(folder: Path) -> int:
    """The id of a dataset's first step."""
    return NUMBERS[folder.name] * PER_DATASET


def pixels(data: Any) -> Any:
    """(224, 224, 3) uint8 of a JPEG, by Pillow."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def stacked(rows: Sequence[tuple[int, Any, Any, Any]]) -> Samples:
    """Rows of (id, image, state, chunk) as one batch."""
    ids, images, state, chunk = zip(*rows, strict=True)
    return Samples(np.array(ids), np.stack(images), np.stack(state), np.stack(chunk))


def processor_seconds() -> float:
    """Of this process, the ones it started, and those of them that ended."""
    ticks = 0
    children: dict[int, list[tuple[int, int]]] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended
        children.setdefault(int(words[1]), []).append((int(place.parent.name), sum(map(int, words[11:15]))))
        if int(place.parent.name) == os.getpid():
            ticks += sum(map(int, words[11:15]))
    waiting = [os.getpid()]
    while waiting:
        for child, spent in children.get(waiting.pop(), []):
            ticks += spent
            waiting.append(child)
    return ticks / os.sysconf("SC_CLK_TCK")


def rate(reader: Reader, options: dict[str, Any]) -> dict[str, Any]:
    """Samples a second until `seconds` are over, or a shuffle buffer would begin to empty; what came is checked."""
    opened = time.time()
    loader = reader.open([Path(options["folders"][0])], options["order"], [1.0])
    batches = iter(loader)
    first = last = next(batches)
    found = {"first": time.time() - float(options["started"]), "first_after_imports": time.time() - opened}
    ids = [np.asarray(first.ids)]
    ids += [np.asarray(batch.ids) for batch in itertools.islice(batches, WARM)]
    source = Source(Path(options["sources"][0]))
    # The last samples only leave the workers' shuffle buffers; what fills them was done before the clock. They are not timed.
    timed = len(source) - WORKERS * BUFFER
    begun, spent_before, before = time.perf_counter(), processor_seconds(), sum(map(len, ids))
    clock = spent = 0.0
    count, over = 0, False
    for last in batches:
        ids.append(np.asarray(last.ids))
        over = time.perf_counter() - begun > options["seconds"]
        if not clock:
            count += len(ids[-1])
            if over or before + count >= timed:
                clock, spent = time.perf_counter() - begun, processor_seconds() - spent_before
        if over:
            break
    read = np.concatenate(ids)
    return found | {
        "rate": count / max(clock, 1e-9),
        "cpu_rate": count / max(spent, 0.01),
        "samples": len(read),
        "twice": len(read) - len(np.unique(read)),
        "wrong": sum(wrong(batch, source, options["tolerance"]) for batch in (first, last)),
    }


def wrong(batch: Samples, source: Source, tolerance: float) -> int:
    """How many samples of a batch are not those of their ids."""
    count = 0
    for i, image, state, chunk in zip(*batch, strict=True):
        step = int(i) % PER_DATASET
        image = np.asarray(image)
        image = image.transpose(1, 2, 0) if image.shape[0] == 3 else image
        whole = image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8
        near = whole and np.abs(cells(image) - cells(pixels(source.jpeg(step)))).max() <= tolerance
        same = np.allclose(state, source.state[step], atol=1e-6) and np.allclose(chunk, source.chunk[step], atol=1e-6)
        count += not (near and same)
    return count


def cells(image: Any) -> Any:
    """(7, 7, 3) means of an image."""
    return image.reshape(7, 32, 7, 32, 3).mean((1, 3))


def interrupted(reader: Reader, options: dict[str, Any]) -> dict[str, Any]:
    """Reads an epoch in shuffled order; keeps the state at 90 % of it, and the ids that followed."""
    loader = reader.open([Path(options["folders"][0])], "resumed", [1.0])
    total = len(Source(Path(options["sources"][0])))
    at = int(SHARE * total / BATCH)
    ids: list[list[int]] = []
    read = 0
    for number, batch in enumerate(loader, 1):
        read += len(batch.ids)
        if number > at:
            ids.append(np.asarray(batch.ids).tolist())
        if number == at:
            state = loader.state()
            Path(options["state"]).write_bytes(pickle.dumps((state, at)))
        if read >= total:
            break
    Path(options["state"]).with_suffix(".ids").write_text(json.dumps(ids))
    return {"kept": state is not None, "samples": read}


def resumed(reader: Reader, options: dict[str, Any]) -> dict[str, Any]:
    """Goes on after the state of `interrupted`; without one, reads the same order again up to there."""
    state, at = pickle.loads(Path(options["state"]).read_bytes())  # written by this script's other task
    followed = json.loads(Path(options["state"]).with_suffix(".ids").read_text())
    loader = reader.open([Path(options["folders"][0])], "resumed", [1.0])
    if state is not None:
        loader.restore(state)
    batches = iter(loader)
    for _ in range(0 if state is not None else at):
        next(batches)
    batch = next(batches, None)
    seconds = time.time() - float(options["started"])
    ids: list[list[int]] = []
    while batch is not None and len(ids) < len(followed):
        ids.append(np.asarray(batch.ids).tolist())
        batch = next(batches, None) if len(ids) < len(followed) else None
    flat, wanted = [i for one in ids for i in one], [i for one in followed for i in one]
    return {
        "seconds": seconds,
        "by_state": state is not None,
        "exact": ids == followed,
        "same_samples": sorted(flat) == sorted(wanted),
        "in_common": len(set(flat) & set(wanted)) / max(1, len(set(wanted))),
    }


def mixture(reader: Reader, options: dict[str, Any]) -> dict[str, Any]:
    """How far windows are from the weights, in samples: of 1,000, and of 64."""
    loader = reader.open([Path(folder) for folder in options["folders"]], "mixture", options["weights"])
    first, count = [], 0
    for batch in loader:
        first.append(np.asarray(batch.ids) // PER_DATASET == options["number"])
        count += len(batch.ids)
        if count >= options["count"]:
            break
    ones = np.concatenate(first)[: options["count"]]
    share = options["weights"][0] / sum(options["weights"])
    sums = np.r_[0, np.cumsum(ones)]
    apart = {str(size): float(np.abs(sums[size:] - sums[:-size] - share * size).max()) for size in (1000, BATCH)}
    return {"count": len(ones), "share": float(ones.mean()), "apart": apart}


def write(reader: Reader, options: dict[str, Any]) -> dict[str, Any]:
    """Writes each dataset."""
    for source, folder in zip(options["sources"], options["folders"], strict=True):
        reader.write(Source(Path(source)), Path(folder))
    return {}


TASKS: dict[str, Callable[[Reader, dict[str, Any]], dict[str, Any]]] = {
    one.__name__: one for one in (rate, interrupted, resumed, mixture, write)
}


def run(make: Callable[..., Reader]) -> None:
    """Does the task of the command line; the reader is made with the option `variant`."""
    options = json.loads(Path(sys.argv[2]).read_text())
    made = make(options["variant"])
    print("\n" + json.dumps(TASKS[sys.argv[1]](made, options)), flush=True)
