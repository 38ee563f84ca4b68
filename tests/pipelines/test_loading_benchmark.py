"""benchmarks.loading: what a reader is told to have done is what it did."""

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.loading import tables
from benchmarks.loading.apart import READERS, ReaderError, task
from benchmarks.loading.contenders import CONTENDERS
from benchmarks.loading.readers import stage

STEPS, HORIZON, DIMS = 200, 3, 2


def write_source(folder: Path) -> stage.Source:
    folder.mkdir(parents=True)
    rng, ends, at = np.random.default_rng(len(folder.name)), [], 0
    with (folder / "frames.bin").open("wb") as frames:
        for step in range(STEPS):
            stream = io.BytesIO()
            Image.new("RGB", (224, 224), (step, 255 - step, 40)).save(stream, "JPEG")
            at += frames.write(stream.getvalue())
            ends.append(at)
    state, action = (rng.normal(size=(STEPS, DIMS)).astype(np.float32) for _ in range(2))
    np.savez(
        folder / "arrays.npz", state=state, action=action, chunk=np.repeat(action[:, None], HORIZON, 1),
        episode=np.arange(STEPS) // 50, ends=np.array(ends), fps=10.0,
    )  # fmt: skip
    return stage.Source(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loading")
    for name in ("planar", "arm"):
        write_source(folder / "source" / name)
    return folder


def asked(place: Path, variant: str, what: str, *names: str, **options: Any) -> dict[str, Any]:
    ours = next(one for one in CONTENDERS if one.variant == variant)
    given = {
        "variant": variant, "folders": [str(place / "shards" / name) for name in names],
        "sources": [str(place / "source" / name) for name in names], "state": str(place / "state"), **options,
    }  # fmt: skip
    assert ours.python is not None
    return task(ours.python, ours.script, what, given, ours.paths)


@pytest.mark.slow
def test_our_reader_reads_each_sample_once_goes_on_exactly_and_keeps_a_mixture(place: Path) -> None:
    asked(place, "global", "write", "planar", "arm")
    for variant in ("global", "block"):
        found = asked(place, variant, "rate", "planar", order="shuffled", seconds=60, tolerance=2)
        assert (found["samples"], found["twice"], found["wrong"]) == (STEPS, 0, 0)
        assert found["peak"] >= found["peak_private"] > 0
        asked(place, variant, "interrupted", "planar")
        found = asked(place, variant, "resumed", "planar")
        assert found["by_state"]
        assert found["exact"]
    found = asked(place, "global", "mixture", "planar", "arm", weights=[3, 1], number=0, count=4096)
    assert found["apart"]["1000"] <= 1
    assert found["share"] == pytest.approx(0.75, abs=0.01)


def test_a_script_that_fails_says_why(place: Path) -> None:
    with pytest.raises(ReaderError, match="KeyError"):
        asked(place, "global", "no such task")


class StandIn:
    """A reader of ids alone that takes what order it is given."""

    def __init__(self, orders: list[list[int]], keeps: bool) -> None:
        self.orders = iter(orders)
        self.keeps = keeps
        self.taken = 0

    def write(self, source: stage.Source, folder: Path) -> None: ...

    def open(self, folders: Any, order: str, weights: Any) -> "StandIn":
        self.ids = next(self.orders)
        self.taken = 0
        return self

    def __iter__(self) -> Any:
        for at in range(self.taken, len(self.ids), stage.BATCH):
            self.taken = at + stage.BATCH
            yield stage.Samples(np.array(self.ids[at : at + stage.BATCH]), None, None, None)

    def state(self) -> Any:
        return self.taken if self.keeps else None

    def restore(self, state: Any) -> None:
        self.taken = state


IN_ORDER = list(range(STEPS))


@pytest.mark.parametrize(
    ("second", "keeps", "said"),
    [
        (IN_ORDER, True, "exact"),
        (IN_ORDER, False, "exact"),
        ([*IN_ORDER[:192], *reversed(IN_ORDER[192:])], True, "the same samples in another order"),
        ([*IN_ORDER[:192], *[0] * 8], True, "not exact"),
        (IN_ORDER[:128], True, "not exact"),  # a state behind which nothing comes
    ],
)
def test_what_follows_an_interruption_is_compared_sample_by_sample(
    place: Path, tmp_path: Path, second: list[int], keeps: bool, said: str
) -> None:
    options = {
        "folders": [""],
        "sources": [place / "source" / "planar"],
        "state": str(tmp_path / "state"),
        "started": 0.0,
    }
    reader = StandIn([IN_ORDER, second], keeps)
    stage.interrupted(reader, options)
    found = stage.resumed(reader, options)
    assert found["by_state"] == keeps
    assert tables.followed(found).startswith(said)


@pytest.mark.parametrize(("rule", "apart"), [(lambda i: i % 4 == 3, 0.75), (lambda i: i % 4000 >= 3000, 750.0)])
def test_a_mixture_is_judged_by_its_worst_window(rule: Any, apart: float) -> None:
    ids = [stage.PER_DATASET if rule(i) else 0 for i in range(8000)]
    found = stage.mixture(StandIn([ids], False), {"folders": [""], "weights": [3, 1], "number": 0, "count": 8000})
    assert found["share"] == 0.75
    assert found["apart"]["64"] <= found["apart"]["1000"] <= apart


def test_a_sample_with_another_ones_picture_state_or_chunk_is_wrong(place: Path) -> None:
    source = stage.Source(place / "source" / "planar")
    rows = [(i, stage.pixels(source.jpeg(i)), source.state[i], source.chunk[i]) for i in (3, 90, 140)]
    assert stage.wrong(stage.stacked(rows), source, 2) == 0
    channels_first = stage.stacked([(i, image.transpose(2, 0, 1), *more) for i, image, *more in rows])
    assert stage.wrong(channels_first, source, 2) == 0
    for column, number in itertools.product((1, 2, 3), (0, 2)):
        mixed: list[Any] = [list(row) for row in rows]
        mixed[number][column] = rows[1][column]
        assert stage.wrong(stage.stacked(mixed), source, 2) == 1


def test_the_table_of_who_is_first_takes_no_inexact_resume_and_names_the_others() -> None:
    rows = [
        {"reader": "fasttok global", tables.SHUFFLED: 90, tables.PEAK: 500},
        {"reader": "fasttok block", tables.SHUFFLED: 100, tables.PEAK: 400},
        {"reader": "other", tables.SHUFFLED: 99, tables.PEAK: 300, tables.SEQUENTIAL: 5},
    ]
    resumes = [
        {"reader": "other", tables.RESUME: 0.1, "what follows": "not exact: 3 %"},
        {"reader": "fasttok global", tables.RESUME: 0.2, "what follows": "exact: the same"},
    ]
    found = {row["column"]: row for row in tables.first({"rates": rows, "resumes": resumes})}
    assert found[tables.SHUFFLED]["first"] == "fasttok block (100)"
    assert (found[tables.PEAK]["first"], found[tables.PEAK]["fasttok is first"]) == ("other (300)", "no")
    assert found[tables.RESUME]["fasttok is first"] == "yes"
    assert tables.SEQUENTIAL not in found


def test_each_reader_has_a_script_that_names_no_file_of_its_library() -> None:
    for one in CONTENDERS:
        assert (READERS / one.script).is_file()
        assert one.script.startswith("read_")  # `datasets.py` beside it would be imported in place of the library
