"""A world played by a server: the same episodes as with the run itself, in an environment without JAX."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection

from fasttok.client import ServerError
from fasttok.errors import InputError
from fasttok.packed_arrays import pack, unpack_map
from tests.policy_servers import answering, running
from tests.train.tiny_runs import FakeEnv, FakePlayer
from train.evaluate import EvaluateConfig, main
from train.judging.served_policy import ServedPolicy
from train.rollouts import RolloutOptions, play

ROOT = Path(__file__).resolve().parents[2]
HORIZON = 4
METADATA: dict[str, Any] = {
    "server": "fasttok", "protocol": 1, "run": "ki_run", "step": 7, "decodes": ["flow", "tokens"],
    "embodiments": {"planar": {"horizon": HORIZON, "action_dim": 3}, "arm": {"horizon": 9}},
    "keys": {"image/primary": "camera primary", "state": "3 numbers", "prompt": "a text"},
}  # fmt: skip
SEEN: list[Any] = [
    {"image/primary": np.zeros((8, 8, 3), np.uint8), "state": np.full(3, i, np.float32)} for i in range(5)
]
SEEDS = range(10, 16)


class CountingServer:
    """Chunks count on from what is left of the connection's last chunk, or from the first number of the state."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.connections, self.together, self.most = 0, 0, 0
        self.lock = threading.Lock()

    def __call__(self, ws: ServerConnection) -> None:
        self.connections += 1
        ws.send(pack(METADATA))
        last = np.zeros((0, 3), np.float32)
        for message in ws:
            assert isinstance(message, bytes)
            request: dict[str, Any] = {**unpack_map(message)}
            with self.lock:
                self.requests.append(request)
            start = float(request["state"][0])
            if "fasttok/executed" in request:
                start = float(last[request["fasttok/executed"], 0])
            last = np.repeat(np.arange(start, start + HORIZON, dtype=np.float32)[:, None], 3, axis=1)
            said = {"subtask": f"reach {request['prompt']}"} if request.get("fasttok/subtask") == "say" else {}
            ws.send(pack({"actions": last, "server_timing": {"total_ms": 0.1}, **said}))


@pytest.fixture
def server() -> CountingServer:
    return CountingServer()


@pytest.fixture
def policy(server: CountingServer) -> Iterator[ServedPolicy]:
    with running(server) as url, ServedPolicy(url, most=3, wait=20.0) as policy:
        yield policy


def make(embodiment: str, split: str) -> FakeEnv:
    return FakeEnv(split)


def test_a_world_gets_the_chunks_of_the_server(server: CountingServer, policy: ServedPolicy) -> None:
    assert (policy.served.run, policy.served.step, policy.embodiments) == ("ki_run", 7, ["planar", "arm"])
    assert (policy.horizon("planar"), policy.horizon("arm")) == (HORIZON, 9)
    chunks = policy.act("planar", ["push"] * 5, SEEN, "tokens")
    assert chunks.shape == (5, HORIZON, 3)
    assert chunks[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert server.connections == 3
    assert sorted(request["fasttok/seed"] for request in server.requests) == [0, 1, 2, 3, 4]
    for request in server.requests:
        assert (
            request["fasttok/seed"] == request["state"][0]
        )  # a row's noise is that of its place, whatever comes first
        assert (request["fasttok/decode"], request["fasttok/embodiment"]) == ("tokens", "planar")
        assert (request["prompt"], request["image/primary"].dtype) == ("push", np.uint8)
    assert "fasttok/subtask" not in server.requests[0]
    again = policy.act("planar", ["push"], SEEN[:1])
    assert server.requests[-1]["fasttok/seed"] == 5
    assert np.array_equal(again[0], chunks[0])


@pytest.mark.parametrize("options", [
    RolloutOptions(batch=3), RolloutOptions(batch=3, execute=0.75, delay=1), RolloutOptions(batch=2, subtasks=2),
])  # fmt: skip
def test_a_world_is_played_as_with_the_run_itself(
    server: CountingServer, policy: ServedPolicy, options: RolloutOptions
) -> None:
    """The outcomes of every episode; in real time and with subtasks, too."""
    (served, _), (local, _) = (
        play(one, make, "planar", "seen", SEEDS, options) for one in (policy, FakePlayer(HORIZON))
    )
    assert (served.each, served.episodes) == (local.each, local.episodes)
    if options.subtasks:
        assert served.said is not None
        assert {text for episode in served.said for text in episode} == {"reach reach the red circle"}
        acted = [r["fasttok/subtask"] for r in server.requests if r["fasttok/subtask"] != "say"]
        assert set(acted) == {"reach reach the red circle"}
    else:
        assert served.said is None


def test_in_real_time_each_row_goes_on_with_its_own_chunk(server: CountingServer, policy: ServedPolicy) -> None:
    """The second row's episode ends: the third is still asked over the connection that has its chunk."""
    first = policy.act("planar", ["push"] * 3, SEEN[:3])
    left = [chunk[2:] for chunk in first]
    second = policy.act("planar", ["push"] * 2, SEEN[:2], prefix=[left[2], left[0]], delay=1)
    assert second[:, 0, 0].tolist() == [left[2][0, 0], left[0][0, 0]]
    assert [r["fasttok/executed"] for r in server.requests[3:]] == [2, 2]
    assert [r["fasttok/delay"] for r in server.requests[3:]] == [1, 1]
    with pytest.raises(InputError, match="not of one that the server gave"):
        policy.act("planar", ["push"], SEEN[:1], prefix=[left[0] + 100], delay=1)


def test_what_cannot_be_asked_is_refused(policy: ServedPolicy) -> None:
    with pytest.raises(InputError, match="unknown embodiment 'plannar'; did you mean 'planar'"):
        policy.act("plannar", ["push"], SEEN[:1])
    with pytest.raises(ServerError, match="gave a chunk of 4 steps; its metadata says 9"):
        policy.act("arm", ["push"], SEEN[:1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"server": "openpi"}, "does not say that it is fasttok-serve"),
        ({"protocol": 2}, "speaks protocol 2, and this fasttok 1"),
        ({"keys": {"observation/image": "", "prompt": ""}}, "takes requests with observation/image.*--keys ours"),
        ({"step": "seven"}, "metadata"),
        ({"embodiments": None}, "metadata"),
        ({"embodiments": {"arm": {"horizon": "9"}}}, "metadata"),
    ],
)
def test_a_server_that_no_world_can_ask_is_refused(change: dict[str, Any], says: str) -> None:
    with (
        running(answering(lambda request: "no", METADATA | change)) as url,
        pytest.raises(InputError, match=says),
    ):
        ServedPolicy(url, wait=20.0)
    with running(answering(lambda request: "no", METADATA | {"decodes": ["flow"]})) as url, ServedPolicy(url) as policy:
        with pytest.raises(InputError, match="start it with --decode tokens"):
            policy.act("planar", ["push"], SEEN[:1], "tokens")
        with pytest.raises(ServerError, match=r"no$"):
            policy.act("planar", ["push"], SEEN[:1])


# A world's own environment: the light install and the client, with nothing of the trainer.
LIGHT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        absent = ("jax", "jaxlib", "optax", "orbax", "tensorflow", "tensorflow_datasets", "apache_beam", "rlds", "PIL")
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from train.scripts import evaluate
sys.argv = ["fasttok-evaluate", *sys.argv[1:]]
evaluate()
"""


def test_the_command_needs_no_jax(server: CountingServer, tmp_path: Path) -> None:
    (tmp_path / "my_world.py").write_text(WORLD)
    with running(server, process_request=needs_key) as url:
        flags = [
            "--policy",
            url,
            "--env",
            "my_world:make",
            "--splits",
            "seen",
            "--embodiments",
            "planar",
            "--episodes=6",
        ]
        words = [
            sys.executable,
            "-c",
            LIGHT,
            *flags,
            "--batch=2",
            f"--out={tmp_path}/out.json",
            f"--rollouts={tmp_path}/f.npz",
        ]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "FASTTOK_API_KEY": "secret"}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert f"evaluated step 7 of ki_run, served at {url}" in done.stderr
    results = json.loads((tmp_path / "out.json").read_text())
    assert (results["run"], results["step"], results["policy"]) == ("ki_run", 7, url)
    assert results["world"][0]["each"]["success"] == [1, 0, 1, 0, 1, 0]
    assert (tmp_path / "f.npz").is_file()


WORLD = """
import numpy as np

class World:
    max_steps, instruction = 6, "reach the red circle"
    def reset(self, seed):
        self.seed, self.steps = seed, 0
        return {"image/primary": np.zeros((8, 8, 3), np.uint8), "state": np.zeros(3)}
    def step(self, action):
        self.steps += 1
        return {"image/primary": np.zeros((8, 8, 3), np.uint8), "state": np.zeros(3)}
    def success(self):
        return self.seed % 2 == 0 and self.steps >= 3

def make(embodiment, split):
    return World()
"""


def needs_key(ws: ServerConnection, request: Request) -> Response | None:
    """Refuses who has another key."""
    right = request.headers.get("Authorization") == "Api-Key secret"
    return None if right else ws.respond(HTTPStatus.UNAUTHORIZED, "no")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({}, "neither --run nor --policy"),
        ({"run": Path("RUN"), "policy": "ws://here:1", "env": "a:b"}, "both --run and --policy"),
        ({"policy": "ws://here:1"}, "--policy acts in a world; pass --env"),
        ({"policy": "ws://here:1", "env": "a:b", "vqa": Path("vqa"), "temperature": 1.0}, "--temperature, --vqa with --policy"),
        ({"policy": "ws://here:1", "env": "a:b", "checkpoint": "best"}, "--checkpoint with --policy"),
    ],
)  # fmt: skip
def test_flags_that_do_not_go_together_are_refused(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        main(EvaluateConfig(**flags))
