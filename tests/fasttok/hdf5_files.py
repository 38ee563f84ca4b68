"""Tiny HDF5 files of the layouts that robomimic, LIBERO, ALOHA, ManiSkill and D4RL write, with their shapes and attributes."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

RNG = np.random.default_rng(7)
LENGTHS = (9, 5, 12)
SIZE = 8  # pixels a side
ACTIONS = [RNG.normal(size=(n, 7)).astype(np.float64) for n in LENGTHS]
PICTURES = [RNG.integers(0, 255, (n, SIZE, SIZE + 2, 3), dtype=np.uint8) for n in LENGTHS]


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """An encoded picture."""
    image = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def robomimic(path: Path, masks: bool = True) -> Path:
    """As robomimic's dataset_states_to_obs.py writes it."""
    h5py = pytest.importorskip("h5py")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        kwargs = {"robots": ["Panda"], "control_freq": 20, "camera_names": ["agentview", "robot0_eye_in_hand"]}
        data.attrs["env_args"] = json.dumps(
            {"env_name": "Lift", "env_version": "1.4.1", "type": 1, "env_kwargs": kwargs}
        )
        data.attrs["total"] = sum(LENGTHS)
        for number, (actions, pictures) in enumerate(zip(ACTIONS, PICTURES, strict=True)):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"], demo.attrs["model_file"] = len(actions), "<mujoco/>"
            demo["actions"], demo["rewards"] = actions, np.zeros(len(actions))
            demo["dones"] = np.arange(len(actions)) == len(actions) - 1
            demo["states"] = np.zeros((len(actions), 32))
            for obs in ("obs", "next_obs"):
                demo[f"{obs}/robot0_eef_pos"] = actions[:, :3] * 2
                demo[f"{obs}/robot0_gripper_qpos"] = actions[:, 5:]
                demo.create_dataset(
                    f"{obs}/agentview_image", data=pictures, compression="gzip", chunks=(4, SIZE, SIZE + 2, 3)
                )
                demo[f"{obs}/robot0_eye_in_hand_image"] = pictures[::-1]
                demo[f"{obs}/agentview_depth"] = np.zeros((len(actions), SIZE, SIZE, 1), np.float32)
        if masks:
            file["mask/train"], file["mask/valid"] = np.array([b"demo_0", b"demo_2"]), np.array([b"demo_1"])
            file["mask/20_percent"] = np.array([b"demo_2"])
    return path


def controlled(path: Path, delta: bool = True) -> Path:
    """robomimic's file with the controller that robosuite writes, and actions in its range."""
    h5py = pytest.importorskip("h5py")
    robomimic(path)
    with h5py.File(path, "a") as file:
        args = json.loads(file["data"].attrs["env_args"])
        args["env_kwargs"]["controller_configs"] = {
            "type": "OSC_POSE",
            "control_delta": delta,
            "output_max": [0.05] * 3,
        }
        file["data"].attrs["env_args"] = json.dumps(args)
        for demo in file["data"].values():
            demo["actions"][...] = np.tanh(demo["actions"][()])
    return path


def robosuite(path: Path) -> Path:
    """As robosuite's collect_human_demonstrations.py writes it: states and actions, no pictures."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env"], data.attrs["repository_version"] = "Lift", "1.4.1"
        data.attrs["env_info"] = json.dumps({"env_name": "Lift", "robots": ["Sawyer"], "controller_configs": {}})
        for number, actions in enumerate(ACTIONS):
            demo = data.create_group(f"demo_{number + 1}")
            demo.attrs["model_file"] = "<mujoco/>"
            demo["states"], demo["actions"] = np.zeros((len(actions), 32)), actions
    return path


def libero(folder: Path, problem_info: bool = True) -> Path:
    """As LIBERO writes it: a file a task, in a folder a suite."""
    h5py = pytest.importorskip("h5py")
    for suite, name in (
        ("libero_90", "KITCHEN_SCENE3_turn_on_the_stove"),
        ("libero_goal", "put_the_bowl_on_the_plate"),
    ):
        (folder / suite).mkdir(parents=True, exist_ok=True)
        with h5py.File(folder / suite / f"{name}_demo.hdf5", "w") as file:
            data = file.create_group("data")
            kwargs = {
                "robots": ["Panda"],
                "control_freq": 20,
                "controller_configs": {"type": "OSC_POSE", "control_delta": True},
            }
            data.attrs["env_args"] = json.dumps({"type": 1, "env_name": "Libero", "env_kwargs": kwargs})
            data.attrs["macros_image_convention"] = "opengl"
            if problem_info:
                said = {"problem_name": "libero", "language_instruction": name.lower().replace("_", " ") + "!"}
                data.attrs["problem_info"] = json.dumps(said)
            for number, (actions, pictures) in enumerate(zip(ACTIONS, PICTURES, strict=True)):
                demo = data.create_group(f"demo_{number}")
                demo.attrs["num_samples"] = len(actions)
                demo["actions"], demo["dones"] = np.tanh(actions), np.arange(len(actions)) == len(actions) - 1
                demo["obs/ee_states"], demo["obs/gripper_states"] = actions[:, :6], actions[:, 5:]
                demo["obs/agentview_rgb"], demo["obs/eye_in_hand_rgb"] = pictures, pictures[::-1]
            data.attrs["num_demos"] = len(ACTIONS)
    return folder


def aloha(folder: Path, compress: bool) -> Path:
    """As ALOHA's record_episodes.py writes it: a file an episode."""
    h5py = pytest.importorskip("h5py")
    folder.mkdir(parents=True, exist_ok=True)
    for number, (actions, pictures) in enumerate(zip(ACTIONS, PICTURES, strict=True)):
        two_arms = np.hstack([actions, actions])
        with h5py.File(folder / f"episode_{number}.hdf5", "w") as file:
            file.attrs["sim"], file.attrs["compress"] = False, compress
            file["action"], file["observations/qpos"] = two_arms, two_arms * 2
            file["observations/qvel"] = two_arms * 0
            for camera in ("cam_high", "cam_left_wrist"):
                if compress:
                    encoded = [jpeg(picture) for picture in pictures]
                    width = max(map(len, encoded)) + 3
                    rows = np.stack([np.frombuffer(e.ljust(width, b"\0"), np.uint8) for e in encoded])
                    file.create_dataset(f"observations/images/{camera}", data=rows, chunks=(1, width))
                else:
                    file[f"observations/images/{camera}"] = pictures
            if compress:
                file["compress_len"] = np.array([list(map(len, encoded))] * 2, np.float64)
    return folder


def maniskill(path: Path, beside: bool = True) -> Path:
    """As ManiSkill's RecordEpisode writes it: observations have a row more than actions, and a JSON file lies beside."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for number, (actions, pictures) in enumerate(zip(ACTIONS, PICTURES, strict=True)):
            traj = file.create_group(f"traj_{number}")
            more = np.concatenate([pictures, pictures[:1]])
            traj["actions"] = actions.astype(np.float32)
            traj["obs/agent/qpos"] = np.zeros((len(more), 9), np.float32)
            traj["obs/extra/tcp_pose"] = np.arange(len(more) * 7, dtype=np.float32).reshape(-1, 7)
            traj["obs/sensor_data/base_camera/rgb"] = more
            traj["obs/sensor_data/base_camera/depth"] = more[..., :1].astype(np.int16)
            traj["env_states/actors/cube"] = np.zeros((len(more), 13), np.float32)
            traj["success"] = np.arange(len(actions)) == len(actions) - 1
            traj["terminated"], traj["truncated"] = traj["success"][()], np.zeros(len(actions), bool)
    if beside:
        episodes = [
            {
                "episode_id": n,
                "episode_seed": n,
                "control_mode": "pd_ee_delta_pose",
                "elapsed_steps": len(a),
                "success": n != 1,
            }
            for n, a in enumerate(ACTIONS)
        ]
        kwargs = {"obs_mode": "rgbd", "control_mode": "pd_ee_delta_pose", "sim_config": {"control_freq": 25}}
        env = {"env_id": "PickCube-v1", "max_episode_steps": 50, "env_kwargs": kwargs}
        path.with_suffix(".json").write_text(json.dumps({"env_info": env, "episodes": episodes}))
    return path


def d4rl(path: Path, timeouts: bool = True) -> Path:
    """As D4RL writes it: all steps in a row. The second episode ends by itself, the others by time."""
    h5py = pytest.importorskip("h5py")
    ends = np.cumsum(LENGTHS) - 1
    rows = np.arange(sum(LENGTHS))
    with h5py.File(path, "w") as file:
        file["actions"], file["observations"] = np.concatenate(ACTIONS), np.zeros((len(rows), 11), np.float32)
        file["rewards"] = np.zeros(len(rows), np.float32)
        file["terminals"] = rows == ends[1] if timeouts else np.isin(rows, ends)
        if timeouts:
            file["timeouts"] = np.isin(rows, ends[[0, 2]])
        file["infos/qpos"] = np.concatenate(ACTIONS)[:, :5]
        file["metadata/algorithm"] = "SAC"
    return path
