"""`python -m benchmarks.loading`: decoded batches of our shards beside those of ten other readers, from the same episodes.

Environments that are missing are built first, in the folder of `make interop`'s. Each task runs in a process of its own; readers
take turns, and a ratio compares two of the same round. docs/reading.md says what the page shows.
"""

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from benchmarks import about
from benchmarks.loading import tables
from benchmarks.loading.apart import ReaderError, task
from benchmarks.loading.contenders import CONTENDERS, Contender
from benchmarks.loading.readers.stage import BATCH, Source
from benchmarks.loading.source import BOTTLE, TABLETOP, write_sources
from fasttok.common.console import log, run, table
from fasttok.common.flags import OPTIONAL
from tests.interop.environments import build

WEIGHTS, MIXED = (3.0, 1.0), 8192  # of planar and arm; samples that are looked at
# Levels by which the mean of 32 x 32 pixels may differ; the fast inverse DCT of TensorFlow differs by up to 2.3.
VIDEO_TOLERANCE, JPEG_TOLERANCE = 24.0, 3.0
Found = dict[str, Any]


@dataclass(frozen=True)
class LoadingConfig:
    """Measures readers side by side; writes benchmarks/results/loading.json and .md.

    Example: python -m benchmarks.loading --bottle ../shared/data/lerobot/g1_bottle --repeats 3
    """

    bottle: Path | None = None
    """A LeRobot v2.1 folder with one camera; without it only the tabletop world is measured."""
    steps: int = 4096
    """Steps of each of the two tabletop robots."""
    repeats: int = 3
    """Rounds; medians count."""
    seconds: float = 10.0
    """That a reader is read for at most in a round, after its first batch; an epoch may end before."""
    only: Annotated[tuple[str, ...], OPTIONAL] = ()
    """Readers to measure, by the start of their names; all by default."""
    folder: Path | None = None
    """Where episodes and formats are written, and kept; a temporary folder that is removed by default."""
    build: bool = True
    """Build environments that are missing: 8 GB, most of it torch, which lerobot's environment of `make interop` shares."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


class Bench:
    """The measurements of one run.

    Attributes:
        config: what was asked for.
        folder: of episodes and formats.
        sources: {dataset: folder of its episodes}.
        missing: {reader: why it is not measured}.
    """

    def __init__(self, config: LoadingConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.sources = write_sources(folder / "source", config.steps, config.bottle)
        self.missing: dict[str, str] = {}
        wanted = [one for one in CONTENDERS if not config.only or one.name.startswith(config.only)]
        self.contenders = [one for one in wanted if self._ready(one)]

    def _ready(self, one: Contender) -> bool:
        """Builds its environment and writes its formats; notes why not."""
        try:
            if one.python is None and self.config.build and one.environment is not None:
                build(one.environment)
            if one.python is None:
                raise RuntimeError("its environment is not built")
            for name, source in self.sources.items():
                place = self.folder / "formats" / one.folder / name
                whole = place.with_name(f"{name}.whole")  # beside what was written to its end
                if not whole.exists():
                    for left in place.parent.glob(f"*{name}"):  # by a run that was stopped
                        shutil.rmtree(left)
                    self.ask(one, "write", [name])
                    whole.touch()
                    log(f"wrote {one.folder} of {source.name}")
        except (RuntimeError, ReaderError) as error:
            self.missing[one.name] = str(error)
            log(f"{one.name} is not measured: {str(error)[-1500:]}")
            return False
        return True

    def ask(self, one: Contender, what: str, names: Sequence[str], **options: Any) -> Found:
        """A task of a reader.

        Raises:
            ReaderError: it failed.
        """
        given = {
            "variant": one.variant,
            "folders": [str(self.folder / "formats" / one.folder / name) for name in names],
            "sources": [str(self.sources[name]) for name in names],
            "tolerance": VIDEO_TOLERANCE if one.images.startswith("AV1") else JPEG_TOLERANCE,
            "state": str(self.folder / f"state-{one.name.replace(' ', '-')}"),
            **options,
        }
        assert one.python is not None
        return task(one.python, one.script, what, given, one.paths)

    def rates(self, name: str) -> dict[str, dict[str, list[Found]]]:
        """{reader: {order: a finding a round}} on one dataset."""
        found: dict[str, dict[str, list[Found]]] = {}
        for number in range(self.config.repeats):
            for one in list(self.contenders):
                for order in ("sequential", "shuffled") if one.sequential else ("shuffled",):
                    try:
                        said = self.ask(one, "rate", [name], order=order, seconds=self.config.seconds)
                    except ReaderError as error:
                        self._failed(one, error)
                        break
                    found.setdefault(one.name, {}).setdefault(order, []).append(said)
                    if said["wrong"] or said["twice"]:
                        log(f"{one.name}, {order}: {said['wrong']} wrong samples, {said['twice']} that came twice")
            log(f"{name}: round {number + 1} of {self.config.repeats}, load {os.getloadavg()[0]:.1f}")
        return found

    def resumes(self, name: str) -> dict[str, Found]:
        """{reader: what came of going on after 90 % of an epoch, in another process}."""
        found = {}
        for one in list(self.contenders):
            try:
                self.ask(one, "interrupted", [name])
                told = [self.ask(one, "resumed", [name]) for _ in range(self.config.repeats)]
            except ReaderError as error:
                self._failed(one, error)
                continue
            found[one.name] = {**told[0], "seconds": statistics.median(one["seconds"] for one in told)}
        log("resumed")
        return found

    def mixtures(self) -> dict[str, Found]:
        """{reader: how far the windows of a mixture are from its weights}."""
        found = {}
        for one in self.contenders:
            if one.variant == "block":
                continue  # keeps the mixture that its shards were built with, and takes no weights
            try:
                found[one.name] = self.ask(one, "mixture", TABLETOP, weights=WEIGHTS, number=0, count=MIXED)
            except ReaderError as error:
                self._failed(one, error)
        log("mixed")
        return found

    def _failed(self, one: Contender, error: ReaderError) -> None:
        self.missing[one.name] = str(error)
        log(str(error))


def main(config: LoadingConfig) -> None:
    """Measures, prints and writes."""
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(config, config.folder or Path(temporary))
        names = [TABLETOP[0], *([BOTTLE] if BOTTLE in bench.sources else [])]
        before = os.getloadavg()[0]
        sections = {}
        for name in names:
            rates = bench.rates(name)
            sections[f"{tables.title(name, Source(bench.sources[name]))}; batches of {BATCH}"] = tables.rates(
                bench.contenders, rates
            )
        sections["An epoch of the first table's episodes, gone on with after 90 % of it in another process"] = (
            tables.resumes(bench.resumes(TABLETOP[0]))
        )
        sections["Two robots 3 : 1: the farthest that any window is from its share, in samples"] = tables.mixtures(
            bench.mixtures()
        )
        sections["Where fasttok is first, and where not"] = tables.first(sections)
        sections["What was measured"] = tables.settings(bench.contenders)
        if bench.missing:
            sections["Not measured"] = [{"reader": name, "why": why[-300:]} for name, why in bench.missing.items()]
        sections["The machine"] = [{"load before": f"{before:.1f}", "load after": f"{os.getloadavg()[0]:.1f}"}]
    for heading, rows in sections.items():
        table(f"\n{heading}", list(rows[0]), [list(row.values()) for row in rows])
    words = f"--steps {config.steps} --repeats {config.repeats} --seconds {config.seconds:g}"
    bottle = f" --bottle {config.bottle}" if config.bottle else ""
    about.write(
        config.out, "loading", "Loading, side by side", f"python -m benchmarks.loading {words}{bottle}", sections
    )


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(LoadingConfig, prog="python -m benchmarks.loading"))))
