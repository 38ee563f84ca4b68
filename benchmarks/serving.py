"""`python -m benchmarks.serving`: what serving adds to computing a chunk, and how long a robot waits, on loopback.

The server and the clients are two processes of this machine. Without a model: three 224 px images (451,584 bytes), a state of 8
numbers and an instruction go to the server, and a chunk of 50 x 7 float32 comes back. The server reads, checks and queues the
request as it does for a run. Training images went through JPEG, so a run's server does that to images, too: a row of its own.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

from benchmarks import about
from benchmarks.stand_in_server import ROBOT, SIZE, seen_by_a_run
from examples.commands import call, environment, words
from fasttok.client import Client, chunk_of
from fasttok.common.console import log, run, table
from fasttok.packed_arrays import Packed, pack, unpack

MIXTURE = """name: serving
description: both robots
tokenizer: fit
chunk: {seconds: 1.0}
unit: samples
seed: 0
sources:
  - {dataset: tabletop_planar, weight: 1}
  - {dataset: tabletop_arm, weight: 1}
"""
WARM = 20  # requests that are not counted
RNG = np.random.default_rng(0)
Row = dict[str, Any]


@dataclass(frozen=True)
class ServingConfig:
    """Times requests to a server with and without a model, and writes benchmarks/results/serving.json and .md.

    Example: python -m benchmarks.serving --requests 500
    """

    requests: int = 500
    """Requests of each client."""
    clients: int = 8
    """Clients at the same time."""
    run: Path | None = None
    """A run to serve, with an embodiment `arm`; by default one of the debug size is trained for a few steps."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def request(seed: int) -> dict[str, Packed]:
    """What a robot with three cameras sends; noise, so that JPEG has much to do."""
    images = {f"image/{slot}": RNG.integers(0, 256, (SIZE, SIZE, 3), np.uint8) for slot in ROBOT.cameras}
    return {**images, "state": RNG.normal(size=8), "prompt": "put the red cup on the shelf", "fasttok/seed": seed}


@dataclass(frozen=True)
class Started:
    """A server in a process of its own.

    Attributes:
        url: its address.
        pid: of its process.
    """

    url: str
    pid: int

    def cpu_ms(self) -> float:
        """Processor time that its process has taken so far (/proc/PID/stat, fields 14 and 15)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return 1000 * sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started(command: str, ready: str, stream: str) -> Iterator["Started"]:
    """A server in a process of its own.

    Args:
        command: as typed.
        ready: what it says of its port, an expression with one group.
        stream: where, stdout or stderr.
    """
    pipes = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        stream: subprocess.PIPE,
    }
    process = subprocess.Popen(words(command), env=environment(), text=True, **pipes)  # type: ignore[call-overload]
    said = []
    try:
        for line in getattr(process, stream):
            said.append(line)
            if port := re.search(ready, line):
                break
        else:
            raise RuntimeError(f"{command} ended:\n{''.join(said)}")
        yield Started(f"ws://127.0.0.1:{port[1]}", process.pid)
    finally:
        process.terminate()
        process.communicate()


def stand_in(flags: str) -> contextlib.AbstractContextManager[Started]:
    """The server without a model."""
    return started(f"python -m benchmarks.stand_in_server {flags}", r"^(\d+)$", "stdout")


def milliseconds(work: Callable[[], object], repeats: int) -> list[float]:
    """How long each of some calls took."""
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - began))
    return found


def row(what: str, found: list[float], cpu: float | None = None) -> Row:
    """Median and 95th percentile, as a line of a table; processor time per request of both processes, where it was measured."""
    times = {"p50 ms": float(np.median(found)), "p95 ms": float(np.percentile(found, 95))}
    return {"what": what, **times} | ({} if cpu is None else {"CPU ms": cpu})


def in_turn(
    servers: Sequence[Started], asked: dict[str, Packed], requests: int
) -> list[tuple[list[float], float, list[float]]]:
    """Asks several servers in turn, so that whatever else the machine does meets all of them.

    Returns:
        For each: milliseconds of each request; processor time per request of server and client; and the server's own `infer_ms`.
    """
    found: list[list[float]] = [[] for _ in servers]
    inference: list[list[float]] = [[] for _ in servers]
    spent, before = [0.0 for _ in servers], [0.0 for _ in servers]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(server.url)) for server in servers]
        for turn in range(WARM + requests):
            if turn == WARM:
                before = [server.cpu_ms() for server in servers]
            for place, client in enumerate(clients):
                cpu, began = time.process_time(), time.perf_counter()
                reply = client.infer(asked)
                if turn >= WARM:
                    found[place].append(1000 * (time.perf_counter() - began))
                    spent[place] += 1000 * (time.process_time() - cpu)
                    inference[place].append(inference_ms(reply))
        after = [server.cpu_ms() for server in servers]
    cpu_each = [(mine + end - start) / requests for mine, start, end in zip(spent, before, after, strict=True)]
    return list(zip(found, cpu_each, inference, strict=True))


def inference_ms(reply: Mapping[str, Packed]) -> float:
    """What a server says that it computed for a reply; 0 if it does not say."""
    timing = reply.get("server_timing")
    spent = timing.get("infer_ms") if isinstance(timing, dict) else None
    return spent if isinstance(spent, float) else 0.0


def several_clients(
    url: str, asked: dict[str, Packed], clients: int, requests: int, right: Callable[[NDArray[np.float32], int], bool]
) -> Row:
    """Latency of clients that ask as fast as they can, and what they get together.

    Args:
        url: of the server.
        asked: a request.
        clients: at the same time.
        requests: of each.
        right: whether a chunk is the answer to the request with a seed; else it counts as lost.
    """

    def ask_on(who: int) -> tuple[list[float], int]:
        found, answered = [], 0
        with Client(url) as client:
            for seed in range(who * requests, (who + 1) * requests):
                mine = asked | {"fasttok/seed": seed}
                began = time.perf_counter()
                reply = client.infer(mine)
                found.append(1000 * (time.perf_counter() - began))
                answered += right(chunk_of(reply), seed)
        return found, answered

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        results = list(threads.map(ask_on, range(clients)))
    seconds = time.perf_counter() - began
    found = [one for mine, _ in results for one in mine]
    answered = sum(count for _, count in results)
    every = row(f"{clients} clients x {requests} requests", found)
    return every | {"requests/s": clients * requests / seconds, "lost": clients * requests - answered}


def all_equal(chunk: NDArray[np.float32], seed: int) -> bool:
    """Whether a chunk is what the server without a model answers to a request with a seed."""
    return bool((chunk == seed).all())


def has_steps(chunk: NDArray[np.float32], _: int) -> bool:
    """Whether it is a chunk: what a run answers to a seed is not known beforehand."""
    return len(chunk) > 0


def without_model(config: ServingConfig) -> tuple[list[Row], list[Row]]:
    """What the server adds, and what many clients get of it."""
    asked = request(1)
    frame, reply = pack(asked), pack({"actions": np.zeros((50, 7), np.float32)})
    seen = {name: value for name, value in asked.items() if name.startswith("image/") and isinstance(value, np.ndarray)}
    names = (
        "a bare websocket: as many bytes there and back",
        "fasttok-serve without model and image codec",
        "the same, with the JPEG round trip",
    )
    with stand_in("--bare") as bare, stand_in("") as ours, stand_in("--codec") as codec:
        measured = in_turn([bare, ours, codec], asked, config.requests)
        many = several_clients(ours.url, asked, config.clients, config.requests, all_equal)
    rows = [row(name, found, cpu) for name, (found, cpu, _) in zip(names, measured, strict=True)]
    alone: dict[str, Callable[[], object]] = {
        "JPEG round trip of three images alone": lambda: seen_by_a_run(seen),
        "packing a request": lambda: pack(asked),
        "reading a request": lambda: unpack(frame),
        "reading a reply": lambda: unpack(reply),
    }
    for name, work in alone.items():
        began = time.process_time()
        found = milliseconds(work, config.requests)
        rows.append(row(name, found, 1000 * (time.process_time() - began) / config.requests))
    return rows, [many]


def with_run(config: ServingConfig, folder: Path) -> list[Row]:
    """How long a robot waits for a chunk of a run, alone and among others."""
    from examples.tabletop.env import make_vector
    from train.player import Player

    seen = make_vector("arm", "seen", 1).reset([0])
    asked: dict[str, Packed] = {name: np.asarray(seen[name][0]) for name in seen} | {"prompt": "push the red circle"}
    requests = max(20, config.requests // 5)
    player = Player.load(folder)
    one = {name: np.asarray(value) for name, value in asked.items() if name != "prompt"}
    act = partial(player.act, "arm", ["push the red circle"], [one])
    milliseconds(act, 3)
    rows = [row("Player.act in one process", milliseconds(act, requests))]
    command = (
        f"fasttok-serve --run {folder} --embodiment arm --keys ours --port 0 --batch {config.clients} --no-real-time"
    )
    with started(command, r"at ws://127\.0\.0\.1:(\d+)", "stderr") as server:
        [(found, _, inference)] = in_turn([server], asked, requests)
        rows += [row("one client", found), row("of that, inference", inference)]
        many = several_clients(server.url, asked, config.clients, requests, has_steps)
    return [one | {"requests/s": 1000 / one["p50 ms"], "lost": 0} for one in rows] + [many]


def trained(folder: Path) -> Path:
    """A run of the debug size, a few steps old: as fast as any of its size."""
    (folder / "serving.yaml").write_text(MIXTURE)
    for command in (
        "python -m examples.tabletop.generate --out data --episodes 20 --vqa 1 --captions 1",
        "fasttok-pipelines index data/tabletop_planar/1.0.0 data/tabletop_arm/1.0.0 --out index",
        "fasttok fit index --out tokenizer --vocab-size 512",
        "fasttok-pipelines build serving.yaml --index index --tokenizer tokenizer --out shards --samples 512 --shards 1",
        "fasttok-train --preset ki --shards shards --out run --steps 2",
    ):
        log(command)
        call(command, folder)
    return folder / "run"


def main(config: ServingConfig) -> None:
    """Measures, prints and writes."""
    rows, many = without_model(config)
    with tempfile.TemporaryDirectory() as temporary:
        runs = with_run(config, config.run or trained(Path(temporary)))
    tables = {
        "What serving adds to a chunk: one client, no model": rows,
        "Many clients, no model": many,
        "A debug run (CPU), two images of 64 px": runs,
    }
    for title, lines in tables.items():
        table(title, list(lines[0]), [list(line.values()) for line in lines])
    about.write(
        config.out,
        "serving",
        "Serving",
        f"python -m benchmarks.serving --requests {config.requests} --clients {config.clients}",
        tables,
    )


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(ServingConfig, prog="python -m benchmarks.serving"))))
