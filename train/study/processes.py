"""Makes the runs of a study in processes, several at once, each on cores of its own. Finished runs are not made again."""

import json
import os
import queue
import subprocess
import sys
import sysconfig
import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from fasttok.common import json_files
from fasttok.common.console import log, progress, write_text
from fasttok.errors import InputError
from train.devices import huge_pages
from train.study.grid import StudyRun
from train.study.run_result import RunResult
from train.study.run_spec import LOG, RunFiles


class Pool:
    """Makes runs, `lanes` at a time. A lane is a share of this process's cores, and only one run at a time uses it.

    A small model leaves many cores idle, so two runs at once on one core each finish sooner than two in turn on both cores.
    """

    def __init__(self, runs: Path, lanes: int = 1) -> None:
        """Divides the cores among the lanes.

        Args:
            runs: folder of all runs.
            lanes: number of runs at a time.

        Raises:
            InputError: `lanes` is below 1 or above the number of cores.
        """
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if lanes < 1 or (cores and lanes > len(cores)):
            raise InputError(f"--jobs is {lanes}, expected 1 to {len(cores)}, the cores that this process may use")
        self.runs, self.lanes = runs, lanes
        self.free: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        for lane in range(lanes):
            self.free.put(cores[lane::lanes] if lanes > 1 else [])
        self.locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self.children: set[subprocess.Popen[bytes]] = set()
        self.stopped = False

    def folder(self, run: StudyRun) -> Path:
        """Returns the folder of a run, found by the digest of its training. The first study that needed the run named it."""
        plain = "".join(c if c.isalnum() or c in "._-" else "_" for c in run.name)
        digest = run.spec.training_digest
        return next(iter(sorted(self.runs.glob(f"*-{digest}"))), self.runs / f"{plain}-{digest}")

    def files(self, run: StudyRun) -> RunFiles:
        """Returns the paths of a run's files."""
        return RunFiles(self.folder(run), run.spec.digest)

    def carry_out(self, runs: Sequence[StudyRun]) -> list[RunResult]:
        """Makes the runs that have no result yet, and returns all results in the order of `runs`.

        Raises:
            InputError: a run failed; the message names its log. The other runs are stopped, and resume next time.
        """
        if todo := [run for run in runs if not self.files(run).result.is_file()]:
            self._make(todo)
        paths = [self.files(run).result for run in runs]
        return [json_files.read(RunResult, path.read_bytes(), str(path)) for path in paths]

    def _make(self, todo: list[StudyRun]) -> None:
        with (
            ThreadPoolExecutor(self.lanes) as threads,
            progress("runs", len(todo), "runs", side_by_side=True) as advance,
        ):
            running = [threads.submit(self._in_lane, run) for run in todo]
            try:
                for done in as_completed(running):
                    done.result()
                    advance()
            except BaseException:
                self._stop()
                raise

    def _in_lane(self, run: StudyRun) -> None:
        cores = self.free.get()
        try:
            with self.locks[run.spec.training_digest]:  # two runs may measure one training
                if not self.stopped:
                    self._start(run, cores)
        finally:
            self.free.put(cores)

    def _start(self, run: StudyRun, cores: list[int]) -> None:
        files, lead = self.files(run), f"[{run.title}] " if self.lanes > 1 else ""
        log(f"--- {run.title} -> {files.folder}")
        files.folder.mkdir(parents=True, exist_ok=True)
        write_text(files.spec, json.dumps(json_files.encode(run.spec)) + "\n")
        # -P: the run starts in the user's folder, and a train.py there must not be taken for ours.
        words = [sys.executable, "-P", "-m", "train.study.single_run", str(files.folder), run.spec.digest]
        child = subprocess.Popen(words, env=self._environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.children.add(child)
        if self.stopped:  # since the check in `_in_lane`
            child.terminate()
        if cores:
            os.sched_setaffinity(child.pid, cores)  # at once, before it starts threads
        assert child.stdout is not None
        with (files.folder / LOG).open("ab") as file:
            for line in child.stdout:
                file.write(line)
                log(lead + line.decode("utf-8", "replace").rstrip("\n"))
        code = child.wait()
        self.children.discard(child)
        if code and not self.stopped:
            lines = (files.folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise InputError(
                f"{run.title} failed with exit status {code}: {lines[-1] if lines else ''} (all of it: {files.folder / LOG})"
            )

    def _environment(self) -> dict[str, str]:
        """Returns the environment variables of a run: those of this process, and a PYTHONPATH on which it finds this package."""
        environment = {huge_pages.VARIABLE: huge_pages.TUNABLES} | os.environ
        root = str(Path(__file__).resolve().parents[2])
        installed = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        if root not in installed:  # a checkout, which this process may have found in its current folder
            path = [root, *environment.get("PYTHONPATH", "").split(os.pathsep)]
            environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, path)))
        return environment

    def _stop(self) -> None:
        self.stopped = True
        for child in list(self.children):
            child.terminate()
