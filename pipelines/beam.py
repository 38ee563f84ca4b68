"""Running independent jobs as one linear Beam graph: Create -> Reshuffle -> ParDo. Sinks are the jobs' own business.

Linear, because a Dask runner executes only the last branch of a graph; own sinks, because its built-in ones write nothing
there. Results travel as files that appear by atomic rename, so any runner, any number of workers and any retry will do.
"""

import logging
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fasttok.console import progress
from fasttok.errors import InputError, require

J = TypeVar("J")


def run_files(
    jobs: Sequence[J],
    work: Callable[[J], None],
    beam_args: list[str],
    *,
    title: str,
    unit: str,
    already: int = 0,
    done: Callable[[], int] | None = None,
) -> None:
    """Runs `work` once for each job and shows progress.

    Args:
        jobs: picklable. beam_args: flags for Beam, untouched. already: jobs that were finished before.
        done: counts finished jobs while a job on other processes runs; without it in-process work counts itself.

    Raises:
        InputError: Beam is not installed, refuses its flags, or a worker raised InputError.
    """
    beam = require("apache_beam", "pipelines", f"{title} with Beam")
    from apache_beam.options.pipeline_options import PipelineOptions

    for name in ("apache_beam", "root"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="apache_beam")
    with progress(title, total=len(jobs) + already, unit=unit) as advance:
        if already:
            advance(already)
        if not jobs:
            return
        watch = _Watch(done, advance)
        try:
            options = PipelineOptions(beam_args or ["--runner=DirectRunner"])
            with watch, beam.Pipeline(options=options) as pipeline:
                _ = (
                    pipeline
                    | "Jobs" >> beam.Create(list(jobs), reshuffle=False)
                    | "Spread" >> beam.Reshuffle()
                    | title.capitalize() >> beam.Map(work)
                )
        except InputError:
            raise
        except Exception as error:
            known = _user_error(error)
            if known is None:
                raise
            raise InputError(known) from None


class _Watch(threading.Thread):
    """Polls `done` while the pipeline runs."""

    def __init__(self, done: Callable[[], int] | None, advance: Callable[..., None]) -> None:
        super().__init__(daemon=True)
        self.done, self.advance, self.stop, self.seen = done, advance, threading.Event(), 0

    def __enter__(self) -> "_Watch":
        if self.done is not None:
            self.seen = self.done()
            self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop.set()
        if self.done is not None:
            self.join()
            self.poll()

    def run(self) -> None:
        while not self.stop.wait(0.5):
            self.poll()

    def poll(self) -> None:
        assert self.done is not None
        now = self.done()
        if now > self.seen:
            self.advance(now - self.seen)
            self.seen = now


def _user_error(error: BaseException | None) -> str | None:
    """The message of an InputError that a runner wrapped, None if there is none."""
    while error is not None:
        if isinstance(error, InputError):
            return str(error).split(" [while running")[0]
        error = error.__cause__ or error.__context__
    return None
