"""A world played by a server: the same episodes as with the run itself, in an environment without JAX."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.server import ServerConnection

from fasttok.client import ServerError
from fasttok.common import json_files
from fasttok.errors import InputError
from fasttok.packed_arrays import pack, unpack_map
from tests.policy_servers import answering, running
from tests.train.serving import served
from tests.train.tiny_runs import FakeEnv, FakePlayer
from train.judging.served_policy import ServedPolicy
from train.rollouts import RolloutOptions, play
from train.serving.ready import ready_policy
from train.serving.serve_config import ServeConfig

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
        assert "" not in acted
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


def test_what_was_said_holds_for_no_other_request(server: CountingServer, policy: ServedPolicy) -> None:
    """A connection remembers its subtask and its last chunk, and that of `say` is one that nobody executes."""
    [chunk] = policy.act("planar", ["push"], SEEN[:1])
    assert policy.say("planar", ["push"], SEEN[1:2]) == ["reach push"]
    with pytest.raises(InputError, match="not of one that the server gave"):
        policy.act("planar", ["push"], SEEN[:1], prefix=[chunk[2:]], delay=1)
    policy.act("planar", ["push"], SEEN[:1])
    assert [request["fasttok/subtask"] for request in server.requests] == ["", "say", ""]


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


@pytest.mark.slow
def test_a_served_run_acts_as_the_run_itself(trained: Path) -> None:
    """Through the real server: action tokens are the player's, real-time chunks go on, and a world is played."""
    ready, metadata = ready_policy(ServeConfig(trained, embodiment="arm", batch=2, decode=("flow", "tokens")))
    player, world = ready.player, FakeEnv("seen")
    seen = [{**world.reset(i), "state": np.full(3, i / 10, np.float32)} for i in range(3)]
    with (
        served(ready, json_files.encode(metadata)) as server,
        ServedPolicy(f"ws://127.0.0.1:{server.address[1]}", most=3) as policy,
    ):
        assert (policy.served.run, policy.served.step) == (trained.name, player.step)
        assert {name: policy.horizon(name) for name in policy.embodiments} == {
            name: player.horizon(name) for name in player.embodiments
        }
        tokens = policy.act("planar", ["push"] * 3, seen, "tokens")
        assert np.allclose(tokens, player.act("planar", ["push"] * 3, seen, "tokens"), atol=1e-5)
        chunks = policy.act("planar", ["push"] * 3, seen)
        assert not np.allclose(chunks[0], chunks[1])
        left = [chunk[4:] for chunk in chunks[1:]]
        on = policy.act("planar", ["push"] * 2, seen[1:], prefix=left, delay=2)
        assert [chunk[:2].tolist() for chunk in on] == [rest[:2].tolist() for rest in left]
        result, _ = play(policy, make, "planar", "seen", SEEDS, RolloutOptions(batch=3, delay=1))
        assert result.episodes == len(SEEDS)
        with pytest.raises(ServerError, match="not trained to say a subtask"):
            policy.say("planar", ["push"], seen[:1])
