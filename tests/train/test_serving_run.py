"""A real run behind the server: chunks that do not depend on who else asks, real time through a connection, and the command."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fasttok.common import json_files
from fasttok.errors import InputError
from fasttok.packed_arrays import pack
from tests.train.serving import PATIENCE, RobotClient, served
from train.player import Player
from train.serving.asking import Answer, Ask
from train.serving.keys import KeyMap
from train.serving.ready import ready_policy
from train.serving.run_policy import RunPolicy, batch_sizes, chosen_decodes, chosen_embodiment
from train.serving.serve_config import ServeConfig

ROOT = Path(__file__).resolve().parents[2]


def request(place: float = 0.0, **more: Any) -> dict[str, Any]:
    shade = int(100 + 50 * place)
    return {
        "image/primary": np.full((64, 64, 3), shade, np.uint8),
        "image/wrist": np.full((48, 64, 3), 9, np.uint8),
        "state": np.full(7, place, np.float32),
        "prompt": "push the red circle",
    } | {key.replace("__", "/"): value for key, value in more.items()}


@pytest.fixture(scope="module")
def policy(trained: Path) -> RunPolicy:
    player = Player.load(trained, temperature=1.0, flow_steps=2)
    return RunPolicy(player, KeyMap.load("ours"), "arm", ("flow", "tokens"), 2, True)


def answers(policy: RunPolicy, asks: list[Ask]) -> list[np.ndarray]:
    came = policy.act(asks, [policy.prepare(ask) for ask in asks])
    assert all(isinstance(one, Answer) for one in came)
    return [one.actions for one in came if isinstance(one, Answer)]


@pytest.mark.slow
def test_a_chunk_is_the_same_whoever_asks_beside_it(policy: RunPolicy) -> None:
    """By flow and by sampled tokens, alone and in a batch, first in it and last; another request number is another chunk."""
    ways: list[dict[str, Any]] = [{"decode": "flow"}, {"decode": "tokens"}]
    for way in ways:
        asks = [Ask("arm", request=request(place), seed=3, number=n, **way) for place, n in ((0.0, 0), (0.5, 4))]
        alone = [answers(policy, [ask])[0] for ask in asks]
        for order in ([0, 1], [1, 0]):
            together = answers(policy, [asks[i] for i in order])
            for i, chunk in zip(order, together, strict=True):
                assert np.allclose(chunk, alone[i], atol=1e-5), way
        again = answers(policy, [dataclasses.replace(asks[0], number=1)])[0]
        assert not np.allclose(again, alone[0], atol=1e-3), way


@pytest.mark.slow
def test_chunks_in_real_time_are_the_same_whoever_asks_beside_them(policy: RunPolicy) -> None:
    """Each with what is left of its own last chunk, and with its own delay."""
    [first] = answers(policy, [Ask("arm", "flow", request())])
    asks = [
        Ask("arm", "flow", request(), number=1, prefix=first[12:], delay=1),
        Ask("arm", "flow", request(0.5), number=5, prefix=first[3:], delay=6),
    ]
    alone = [answers(policy, [ask])[0] for ask in asks]
    together = answers(policy, asks)
    for ask, one, other in zip(asks, alone, together, strict=True):
        assert np.allclose(one, other, atol=1e-4)
        assert ask.prefix is not None
        assert np.array_equal(other[: ask.delay], ask.prefix[: ask.delay])


def test_real_time_through_a_connection(policy: RunPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server gives the run what is left of the connection's own last chunk."""
    given: list[Any] = []
    acts = policy.act

    def act(asks: Any, ready: Any) -> Any:
        given.append((ready[0].prefix, ready[0].delay))
        plain = (
            [dataclasses.replace(ask, prefix=None) for ask in asks],
            [dataclasses.replace(row, prefix=None) for row in ready],
        )
        return acts(*plain)

    monkeypatch.setattr(policy, "act", act)
    with served(policy) as server, server.client() as one, server.client() as other:
        first = one.chunk(**request())
        other.chunk(**request(1.0))
        one.chunk(**request(fasttok__executed=8, fasttok__delay=3))
    assert (given[0], given[1]) == ((None, 0), (None, 0))
    assert np.array_equal(given[2][0], first[8:])
    assert given[2][1] == 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"state": np.full(7, np.nan)}, r"nan.*expected finite numbers.*request for arm by key map ours has.*image/wrist"),
        ({"state": np.zeros(3)}, r"3 numbers.*expected 7"),
        ({"state": None}, "state"),
        ({"image/primary": None, "image/wrist": None}, "none of the run's cameras.*image/primary"),
        ({"image/primary": None, "image/front": np.zeros((64, 64, 3), np.uint8)}, "image/front"),
        ({"prompt": None}, "prompt"),
        ({"prompt": "push " * 400}, "tokens, more than the"),
        ({"fasttok/embodiment": "leg"}, "unknown embodiment 'leg'.*arm, planar"),
        ({"fasttok/subtask": "lift it"}, "not trained to act on a subtask"),
        ({"fasttok/subtask": "say"}, "not trained to say a subtask"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_request_is_told_and_harms_nobody(
    policy: RunPolicy, change: dict[str, Any], told: str
) -> None:
    """Nothing wrong gets as far as the thread that computes."""
    with served(policy) as server, server.client() as robot:
        wrong = {key: value for key, value in (request() | change).items() if value is not None}
        robot.ws.send(pack(wrong))
        got = robot.receive()
        assert isinstance(got, str)
        assert re.search(told, got, re.DOTALL), got


def test_a_camera_less_is_masked(policy: RunPolicy) -> None:
    with served(policy) as server, server.client() as robot:
        without = request()
        del without["image/wrist"]
        assert robot.chunk(**without).shape == (20, 7)


def test_a_chunk_that_is_not_finite_is_not_sent(policy: RunPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Player, "act_rows", lambda self, rows, decode, rngs: np.full((len(rows), 20, 7), np.nan))
    ask = Ask("arm", "flow", request())
    [answer] = policy.act([ask], [policy.prepare(ask)])
    assert isinstance(answer, InputError)
    assert "not finite" in str(answer)


def test_what_a_run_cannot_do_is_said_at_the_start(trained: Path, policy: RunPolicy) -> None:
    player = policy.player
    with pytest.raises(InputError, match=r"knows planar, arm; say which one is served with --embodiment"):
        chosen_embodiment(player, "")
    with pytest.raises(InputError, match="unknown embodiment 'leg'"):
        chosen_embodiment(player, "leg")
    with pytest.raises(InputError, match="--batch is 0"):
        batch_sizes(0)
    assert [batch_sizes(most) for most in (1, 2, 5, 8)] == [[1], [1, 2], [1, 2, 4, 5], [1, 2, 4, 8]]
    assert chosen_decodes(player, ()) == ("flow",)
    backbone = dataclasses.replace(player, config=dataclasses.replace(player.config, flow=False))
    assert chosen_decodes(backbone, ()) == ("tokens",)
    with pytest.raises(InputError, match="no action expert"):
        chosen_decodes(backbone, ("flow",))
    with pytest.raises(InputError, match="numbers in all; planar was trained with 3"):
        ready_policy(ServeConfig(trained, embodiment="planar", keys="libero"))
    plain = RunPolicy(player, KeyMap.load("ours"), "arm", ("flow",), 1, False)
    with pytest.raises(InputError, match="--no-real-time"):
        plain.prepare(Ask("arm", "flow", request(), prefix=np.zeros((3, 7), np.float32)))


@pytest.mark.slow
def test_after_warming_nothing_compiles(trained: Path) -> None:
    """Whatever is asked for, in batches of any size: the first request is as quick as the others."""
    config = ServeConfig(trained, embodiment="arm", batch=3, decode=("flow", "tokens"), flow_steps=2)
    policy, metadata = ready_policy(config)
    [chunk] = answers(policy, [Ask("planar", "flow", {**request(), "state": np.zeros(3)})])
    compiled: list[str] = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for embodiment, state, d in (("arm", np.ones(7), 7), ("planar", np.ones(3), 3)):
            seen = {**request(), "state": state}
            for n in (1, 2, 3):
                ways: list[dict[str, Any]] = [{"decode": "flow"}, {"decode": "tokens"}]
                ways.append({"decode": "flow", "prefix": np.zeros((5, d), np.float32), "delay": 2})
                for way in ways:
                    assert len(answers(policy, [Ask(embodiment, request=seen, **way)] * n)) == n
        assert compiled == []
        jax.jit(lambda x: x * 3.25 + n)(np.arange(7.0))  # the listener does hear of what is compiled
        assert compiled
    finally:
        jax.monitoring.clear_event_listeners()
    told = json_files.encode(metadata)
    assert (told["server"], told["protocol"], told["step"], told["embodiment"]) == ("fasttok", 1, 4, "arm")
    arm = told["embodiments"]["arm"]
    assert (arm["horizon"], arm["action_dim"], arm["control_hz"], arm["cameras"]) == (20, 7, 20, ["primary", "wrist"])
    assert arm["action_names"][0] == "x (m)"
    assert len(arm["action_low"]) == len(arm["action_high"]) == 7
    assert all(low < high for low, high in zip(arm["action_low"], arm["action_high"], strict=True))
    assert len(arm["state_low"]) == len(arm["state_high"]) == arm["state_dim"] == len(arm["state_names"])
    assert all(low <= high for low, high in zip(arm["state_low"], arm["state_high"], strict=True))
    assert (told["decode"], told["decodes"], told["real_time"], told["rtc_delay"]) == (
        "flow",
        ["flow", "tokens"],
        True,
        0,
    )
    assert set(told["keys"]) == {"image/primary", "image/wrist", "state", "prompt"}
    assert chunk.shape == (10, 3)


@pytest.fixture
def ctrl_c_switched_on() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def command(run: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "train.serving.command", "--run", str(run), "--port", "0", "--batch", "1",
         "--no-real-time", "--flow-steps", "2", "--embodiment", "arm", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "FASTTOK_API_KEY": "secret"},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_command_serves_until_it_is_told_to_stop(
    trained: Path, number: int, status: int, ctrl_c_switched_on: None
) -> None:
    process = command(trained)
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if "ws://" in line:
                break
        assert "compiling: 1/1 programs" in said[0], said
        url = re.search(r"ws://127\.0\.0\.1:\d+", said[-1])
        assert url is not None, said
        key = {"Authorization": "Api-Key secret"}
        with RobotClient(connect(url[0], compression=None, additional_headers=key)) as robot:
            assert robot.metadata["embodiment"] == "arm"
            assert robot.chunk(**request()).shape == (20, 7)
            process.send_signal(number)
            with pytest.raises(ConnectionClosed) as closed:
                robot.ws.recv(PATIENCE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        rest = process.communicate(timeout=PATIENCE)[1]
        assert process.returncode == status, rest
        assert "stopped after 1 answers" in rest
        assert "Traceback" not in rest
    finally:
        process.kill()


@pytest.mark.slow
def test_while_it_compiles_a_signal_ends_it_at_once(trained: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", SLOW_START, str(trained)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "compiling for ever\n"
        process.send_signal(signal.SIGTERM)
        assert "it did not serve yet" in process.communicate(timeout=PATIENCE)[1]
        assert process.returncode == 143
    finally:
        process.kill()


SLOW_START = """
import sys, threading
from train.serving import command, ready
def for_ever(config):
    print("compiling for ever", flush=True)
    threading.Event().wait()
ready.ready_policy = for_ever
command.command(["--run", sys.argv[1], "--port", "0"])
"""


def test_a_port_in_use_is_an_error_before_anything_is_loaded(tmp_path: Path) -> None:
    import socket

    from train.serving.command import main

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} of 127\.0\.0\.1 is in use"):
            main(ServeConfig(tmp_path / "no run", port=port))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"max_frame_mb": 0}, "--max-frame-mb is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"seed": 2**63}, "--seed is 9223372036854775808; expected 0 to"),
        ({"flow_steps": 0}, "flow_steps is 0; expected at least 1"),
        ({"temperature": -1.0}, "temperature is -1.0; expected 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
    ]
    for change, told in wrong:
        with pytest.raises(InputError, match=told):
            main(dataclasses.replace(ServeConfig(tmp_path / "no run", port=0), **change))
    with pytest.raises(InputError, match="is not a run"):
        main(ServeConfig(tmp_path / "no run", port=0))
