"""Builds that are killed: one interpreter that imports everything once, and forks a child for each attempt.

    python tests/pipelines/killed.py OUT SEED KILLS FULL -- BUILD ARGUMENTS

Each attempt is killed (SIGKILL) a random time after it began, or after it put up to two more shards there, so most fall into a
write; with FULL > 0 every other attempt instead meets a full disk: no file may grow past so many bytes. It ends with the first
build that gets through after all the kills, and prints what was visible after every attempt that did not finish.
"""

import json
import math
import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build


def attempt(config: BuildConfig, full: int) -> None:
    """The child: a build, with its output thrown away."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    if full:
        signal.signal(
            signal.SIGXFSZ, signal.SIG_IGN
        )  # a write past the limit then fails with an error, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, full))
    try:
        run_build(config, [])
    except BaseException:
        os._exit(3)
    os._exit(0)


def visible(out: Path) -> dict[str, int]:
    """Sizes of the shards that have their names."""
    return {file.name: file.stat().st_size for file in out.glob("*.arrow")}


def main(out: Path, seed: int, kills: int, full: int, arguments: dict[str, object]) -> None:
    """Attempts until all kills are done and a build gets through; prints {"kills", "failures", "seen"}."""
    rng = random.Random(seed)
    killed = failed = 0
    seen: list[dict[str, int]] = []
    while True:
        config = BuildConfig(out=str(out), **{**arguments, "resume": out.exists()})  # type: ignore[arg-type]
        short = full if full and (killed + failed) % 2 and killed < kills else 0
        child = os.fork()
        if not child:
            attempt(config, short)
        more = len(visible(out)) + rng.randint(0, 2)
        last = killed >= kills
        deadline = time.monotonic() + (rng.uniform(0.02, 0.6) if not last and rng.random() < 0.3 else math.inf)
        status = done = 0
        while not done and time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if not last and (out / "plan" / "plan.json").exists() and len(visible(out)) >= more:
                deadline = min(deadline, time.monotonic() + rng.uniform(0, 0.05))
                more = 10**9
            time.sleep(0.001)
        if not done:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed += 1
            seen.append(visible(out))
            continue
        if os.WEXITSTATUS(status) == 0 and not short:
            if last:
                break
            shutil.rmtree(out)  # on a busy machine it was through before it could be killed: once more, from nothing
            continue
        failed += 1
        seen.append(visible(out))
        assert not short or not (out / "manifest.json").exists()
        if failed > 4 * kills:
            raise SystemExit("no attempt got through")
    print(json.dumps({"kills": killed, "failures": failed, "seen": seen}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), json.loads(sys.argv[5]))
