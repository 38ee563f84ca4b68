"""Between vla-eval and `fasttok-serve`: observations and actions change their names and forms. Needs no vla-eval."""

import numpy as np
import pytest

from fasttok.errors import InputError
from train.worlds.vla_eval import Bridge, GripperForm, HubConfig, model_server

METADATA = {
    "server": "fasttok",
    "protocol": 1,
    "run": "RUN",
    "step": 3,
    "decodes": ["flow"],
    "keys": ["image/primary", "image/wrist", "state", "prompt"],
    "embodiments": {
        "franka": {"horizon": 10, "action_dim": 2, "action_encoding": ["delta", "gripper"]},
        "widow": {"horizon": 5, "action_encoding": ["absolute", "absolute"]},
    },
}


class StandInClient:
    """What `fasttok.client.Client` is to the bridge."""

    url = "ws://stand-in"

    def __init__(self, metadata: dict) -> None:
        self.metadata, self.closed = metadata, False
        self.requests: list[dict] = []

    def act(self, request: dict) -> np.ndarray:
        self.requests.append(request)
        return np.array([[0.5, 1.0], [0.5, 0.25]], np.float32)

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> "StandInClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def bridge(metadata: dict | None = None, **settings) -> tuple[Bridge, list]:
    made: list[StandInClient] = []

    def connect():
        made.append(StandInClient(metadata or METADATA))
        return made[-1]

    return Bridge(HubConfig(policy="ws://stand-in", **({"embodiment": "franka"} | settings)), connect), made


def seen(**other) -> dict:
    images = {"agentview": np.full((4, 4, 3), 7, np.uint8), "wrist": np.full((4, 4, 3), 8, np.uint8)}
    return {"images": images, "task_description": "put it there", "states": np.arange(8.0)} | other


def test_observations_get_our_names() -> None:
    request = bridge()[0].request(seen())
    assert set(request) == {"image/primary", "image/wrist", "state", "prompt"}
    assert np.asarray(request["image/wrist"]).flat[0] == 8
    assert np.asarray(request["state"]).dtype == np.float32
    assert request["prompt"] == "put it there"
    one = bridge(cameras={"front": "secondary"})[0].request(
        {"images": {"front": np.zeros((2, 2, 3), np.uint8), "top": 0}, "task_description": "go", "state": [[1, 2]]}
    )
    assert set(one) == {"image/secondary", "state", "prompt"}
    assert np.asarray(one["state"]).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("form", "expected"),
    [("opening", [1, 0.25]), ("closing", [0, 0.75]), ("open_positive", [1, -0.5]), ("close_positive", [-1, 0.5])],
)
def test_grippers_get_the_form_of_the_benchmark(form: GripperForm, expected: list[float]) -> None:
    chunk = bridge(gripper=form)[0].answer(seen(), "s")
    assert chunk[:, 1].tolist() == expected
    assert chunk[:, 0].tolist() == [0.5, 0.5]
    joints = bridge(embodiment="widow", gripper=form)[0].answer(seen(), "s")
    assert joints[:, 1].tolist() == [1, 0.25]  # it has no gripper


def test_a_server_that_does_not_say_which_columns_are_grippers() -> None:
    silent = METADATA | {"embodiments": {"franka": {"horizon": 10, "action_encoding": []}}}
    with pytest.raises(InputError, match=r"does not say which columns of franka are grippers.*--gripper-columns -1"):
        bridge(silent)
    assert bridge(silent, gripper="opening")[0].answer(seen(), "s")[:, 1].tolist() == [1, 0.25]
    assert bridge(silent, gripper_columns=(-1,))[0].answer(seen(), "s")[:, 1].tolist() == [-1, 0.5]


def test_an_episode_has_a_connection_and_noise_of_its_own() -> None:
    one, made = bridge()
    assert one.steps == 5
    for task in ({"name": "a", "episode_idx": 0}, {"name": "a", "episode_idx": 1}, {"name": "a", "episode_idx": 0}):
        one.begin("s", task)
        one.answer(seen(), "s")
        one.answer(seen(), "s")
        one.end("s")
    asked = [client.requests for client in made[1:]]
    assert [len(requests) for requests in asked] == [2, 2, 2]
    assert all(client.closed for client in made)
    first, second, again = (requests[0]["fasttok/seed"] for requests in asked)
    assert first == again != second
    assert all("fasttok/seed" not in requests[1] for requests in asked)
    assert {request["fasttok/embodiment"] for requests in asked for request in requests} == {"franka"}


def test_sessions_are_asked_together() -> None:
    one, made = bridge(batch=3)
    chunks = one.answer_all([seen(), seen(), seen()], ["a", "b", "c"])
    assert len(chunks) == 3
    assert len(made) == 4


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        ({"images": {"front": np.zeros(1)}}, "has the images front; expected one of agentview, wrist"),
        ({"images": {}}, "has the images none"),
        ({"task_description": ""}, "no task_description"),
    ],
)
def test_observations_that_cannot_be_used(observation: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        bridge()[0].request(seen(**observation))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embodiment": ""}, "knows franka, widow; say which one acts: --embodiment"),
        ({"embodiment": "frank"}, "unknown embodiment 'frank'; did you mean 'franka'"),
        ({"cameras": {"left": "wrist", "right": "wrist"}}, "--cameras gives slot wrist to left, right; expected one"),
        ({"cameras": {"agentview": "front"}}, "unknown camera slot of --cameras 'front'"),
        ({"execute": 0.0}, "--execute is 0.0"),
        ({"gripper_columns": (2,)}, "--gripper-columns has 2; franka has 2 columns, expected 0 to 1"),
        ({"metadata": {"server": "other"}}, "does not say that it is fasttok-serve"),
        ({"metadata": METADATA | {"keys": ["observation/image", "prompt"]}}, "start the server with --keys ours"),
    ],
)
def test_settings_and_servers_that_cannot_be_used(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        bridge(**settings)


def test_the_missing_package_is_named() -> None:
    with pytest.raises(InputError, match=r"pip install 'vla-eval==0.8.0' 'fasttok-vla\[client\]'"):
        model_server(bridge()[0])
