"""Worlds of these tests, registered with gymnasium: small, and of every form of observation that the adapter reads."""

from typing import ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces


class Reach(gymnasium.Env):
    """A point that is to be moved to 1; what it shows and tells is chosen by keywords."""

    metadata: ClassVar[dict] = {"render_modes": ["rgb_array"], "render_fps": 10}
    prompt = "go right"

    def __init__(self, tells="success", goal=1.0, image="hwc", render_mode=None, bound=2.0, dtype="float32") -> None:
        self.tells, self.goal, self.image, self.render_mode = tells, goal, image, render_mode
        self.action_space = spaces.Box(-bound, bound, (2,), np.dtype(dtype))
        self.observation_space = spaces.Dict()
        self.taken: list = []
        self.closed = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.options, self.x, self.at = options, self.np_random.uniform(-0.1, 0.1), 0
        return self.shown(), {"language": {"text": f"reach {self.goal}", "a text": "reach it", "words": ["reach"]}}

    def step(self, action):
        self.taken.append(np.asarray(action))
        self.x += float(action[0]) / 10
        self.at += 1
        done = self.x >= self.goal
        info = {self.tells: done} if self.tells else {}
        return self.shown(), float(done), done and self.tells == "terminated", self.at >= 12, info

    def render(self):
        return np.full((6, 8, 3), 77, np.uint8)

    def close(self):
        self.closed = True

    def text(self):
        return "go on"

    def shown(self):
        pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
        made = {
            "hwc": pixels,
            "chw": pixels.transpose(2, 0, 1),
            "rgba": np.concatenate([pixels, pixels[..., :1]], 2),
            "gray": pixels[..., 0],
            "float": pixels.astype(np.float32) / 255,
            "batch": pixels[None],
            "wrong": pixels.astype(np.float32),
        }
        robot = {"x": np.float64(self.x), "v": np.zeros((1, 2)), "name": "arm"}
        return {"camera": made[self.image], "robot": robot, "flat": np.array([self.x, 1.0])}


class Told(gymnasium.Wrapper):
    """A wrapper that knows the instruction, inside of the package's own wrappers."""

    said = "go far"

    def __init__(self, **options) -> None:
        super().__init__(Reach(**options))


class Turn(Reach):
    """Its observation is one array."""

    def shown(self):
        return np.array([self.x, 2.0], np.float32)


class Choice(Reach):
    """Its actions are not numbers."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.action_space = spaces.Discrete(3)


gymnasium.register("Reach-v0", Reach, max_episode_steps=12, disable_env_checker=True)
gymnasium.register("Short-v0", Reach, max_episode_steps=4, disable_env_checker=True)
gymnasium.register("Told-v0", Told, max_episode_steps=12, disable_env_checker=True)
gymnasium.register("Turn-v0", Turn, disable_env_checker=True)
gymnasium.register("Choice-v0", Choice, disable_env_checker=True)
