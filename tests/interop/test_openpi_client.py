"""openpi-client 0.1.2, unmodified, drives our server: metadata, chunks, errors, its broker and its runtime."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok.common.kinds import CameraSlot
from fasttok.packed_arrays import pack, unpack_map
from tests.chain import Chain
from tests.interop.environments import PackageSet, run_inside
from tests.shared_folders import once
from tests.train.serving import CountingPolicy, served
from tests.train.tiny_runs import config
from train.acting.robots import Robot
from train.loop import run
from train.player import Player
from train.serving.asking import Answer, Ask
from train.serving.keys import KeyMap

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
# What openpi's examples send, in the order in which the policy gets it; the DROID client sends two of three cameras.
STATES = {
    "droid": ("observation/joint_position", "observation/gripper_position"),
    "libero": ("observation/state",),
    "aloha": ("state",),
}
WIDTHS = {"droid": 8, "libero": 8, "aloha": 14}
CAMERAS: dict[str, dict[str, CameraSlot]] = {
    "droid": {
        "observation/exterior_image_1_left": "primary",
        "observation/exterior_image_2_left": "secondary",
        "observation/wrist_image_left": "wrist",
    },
    "libero": {"observation/image": "primary", "observation/wrist_image": "wrist"},
    "aloha": {
        "images/cam_high": "primary",
        "images/cam_low": "secondary",
        "images/cam_right_wrist": "wrist",
        "images/cam_left_wrist": "wrist_secondary",
    },
}


@dataclass(frozen=True)
class Driven:
    """What `inside/drive_server.py` wrote.

    Attributes:
        said: metadata, types of the replies' values, errors, packed requests.
        chunks: of each request, seeded, broken up by the broker, and applied in openpi's runtime.
    """

    said: dict[str, Any]
    chunks: Mapping[str, np.ndarray]

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What was asked, as our side reads it."""
        return [{**unpack_map(bytes.fromhex(one))} for one in self.said["packed"]]


@pytest.fixture(scope="module")
def tiny_run(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that the trainer's own tests have."""
    return once(tmp_path_factory, "trained", lambda out: run(config(chain, out / "ki"))) / "ki"


def drive(environment: PackageSet, port: int, shape: str, out: Path) -> Driven:
    """Runs the client in its environment."""
    run_inside(environment, "drive_server.py", str(port), shape, out)
    with np.load(out / "chunks.npz") as file:
        return Driven(json.loads((out / "said.json").read_text()), dict(file))


@contextlib.contextmanager
def serving(folder: Path, *more: str) -> Iterator[int]:
    """`fasttok-serve` in a process of its own; gives its port."""
    words = [sys.executable, "-P", "-c", "from train.scripts import serve; serve()"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FASTTOK_API_KEY": "secret"}
    process = subprocess.Popen(
        [*words, "--run", str(folder), "--port", "0", "--batch", "1", *more],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    lines = []
    try:
        for line in process.stderr:
            lines.append(line)
            if port := re.search(r"at ws://127.0.0.1:(\d+)", line):
                yield int(port[1])
                break
        else:
            raise AssertionError("".join(lines))
    finally:
        process.terminate()
        process.stderr.read()
        process.wait()


def test_the_client_gets_the_chunks_of_the_player(
    built: Callable[[str], PackageSet], tiny_run: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    environment = built("openpi-client")
    with serving(tiny_run, "--embodiment", "arm", "--no-real-time") as port:
        driven = drive(environment, port, "ours", tmp_path)
    player, about = Player.load(tiny_run), driven.said["metadata"]
    robot = player.robot("arm")
    assert (about["server"], about["run"], about["step"], about["embodiment"]) == ("fasttok", tiny_run.name, 4, "arm")
    told = about["embodiments"]["arm"]
    assert (told["horizon"], told["action_names"]) == (robot.horizon, list(robot.action_names))
    assert (told["cameras"], told["control_hz"]) == (list(robot.cameras), robot.control_hz)
    assert sorted(driven.said["timing"]) == ["infer_ms", "queue_ms", "total_ms"]
    assert all(reply["actions"] == "ndarray" for reply in driven.said["replies"])
    check_chunks(driven, robot.horizon)

    def acted(request: Mapping[str, Any], seed: int, number: int) -> np.ndarray:
        row = player.row("arm", request["prompt"], request, "flow", None, 0, "")
        return player.act_rows([row], "flow", [np.random.default_rng((seed, number))])[0]

    for number, request in enumerate(driven.requests):
        assert np.allclose(driven.chunks[f"chunk{number}"], acted(request, 0, number), atol=1e-5)
    assert np.allclose(driven.chunks["seeded"], acted(driven.requests[0], 5, 0), atol=1e-5)
    record_property("checked", "fasttok-serve: metadata, chunks equal to Player's, errors, ActionChunkBroker, runtime")


class EchoPolicy(CountingPolicy):
    """Reads requests by a key map; the chunk is the state, and what the pictures are like."""

    def __init__(self, shape: str) -> None:
        super().__init__()
        self.keys = KeyMap.load(shape)
        self.robot = Robot(
            dataset="d", embodiment="planar", control_hz=15, horizon=self.horizon, action_dim=1, action_encoding=("delta",),
            action_names=("x",), state_dim=WIDTHS[shape], state_names=tuple(f"s{i}" for i in range(WIDTHS[shape])),
            cameras=tuple(CAMERAS[shape].values()), resize=None, encode=None, representation=None,
        )  # fmt: skip

    def prepare(self, ask: Ask) -> Any:
        return self.keys.observation(ask.request, self.robot)

    def answer(self, ask: Ask, ready: Any) -> Answer | Exception:
        seen, task = ready
        means = [seen[f"image/{slot}"].mean() if f"image/{slot}" in seen else -1 for slot in self.robot.cameras]
        row = np.array([*seen["state"], *means, len(task)], np.float32)
        return Answer(np.stack([row + step for step in range(self.horizon)]))


@pytest.mark.parametrize("shape", ["droid", "libero", "aloha"])
def test_requests_of_openpis_examples_arrive(
    built: Callable[[str], PackageSet], shape: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """What the client sends is what the policy reads: state in order, pictures, instruction."""
    policy = EchoPolicy(shape)
    robots = {"planar": {"horizon": policy.horizon}}
    with served(policy, {"embodiment": "planar", "embodiments": robots}, api_key="secret") as server:
        driven = drive(built("openpi-client"), server.address[1], shape, tmp_path)
    check_chunks(driven, policy.horizon)
    for number, request in enumerate(driven.requests):
        sent = {**request, **{f"images/{name}": image for name, image in request.get("images", {}).items()}}
        states = [sent[key] for key in STATES[shape]]
        means = [sent[key].mean() if key in sent else -1 for key in CAMERAS[shape]]
        wanted = np.array([*np.concatenate(states), *means, len(request["prompt"])])
        assert np.allclose(driven.chunks[f"chunk{number}"][0], wanted, rtol=1e-6)
    record_property("checked", f"requests shaped as openpi's {shape} example, by the key map {shape}")


def check_chunks(driven: Driven, horizon: int) -> None:
    """Errors are raised and change nothing; the broker and openpi's runtime hand out the same chunk step by step."""
    nothing, no_camera, misspelt = driven.said["errors"]
    assert "none of the run's cameras" in nothing
    assert "none of the run's cameras" in no_camera
    assert "did you mean 'fasttok/seed'" in misspelt
    seeded = driven.chunks["seeded"]
    assert np.allclose(driven.chunks["broken"], np.concatenate([seeded, seeded]), atol=1e-5)
    assert np.allclose(driven.chunks["applied"], np.concatenate([seeded, seeded[:1]]), atol=1e-5)
    for request, packed in zip(driven.requests, driven.said["packed"], strict=True):
        assert pack(request).hex() == packed  # the bytes of our packer are the client's
