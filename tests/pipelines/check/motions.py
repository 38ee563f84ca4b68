"""Made recordings of a robot that follows its commands, and copies of real ones that mean something else."""

import numpy as np
from numpy.typing import NDArray

Tables = list[NDArray]


def smooth(rng: np.random.Generator, length: int, dims: int, corners: int = 5) -> NDArray:
    """A path (length, dims) through random corners, with rests between them."""
    at = np.linspace(0, length - 1, corners)
    share = np.arange(length)
    path = np.empty((length, dims))
    for d in range(dims):
        path[:, d] = np.interp(share, at, rng.uniform(-1, 1, corners))
    kernel = np.hanning(9) / np.hanning(9).sum()
    padded = np.pad(path, ((4, 4), (0, 0)), mode="edge")
    return np.stack([np.convolve(padded[:, d], kernel, "valid") for d in range(dims)], axis=1)


def absolute(
    seed: int = 0, episodes: int = 12, dims: int = 4, follow: float = 0.5, noise: float = 0.002
) -> tuple[Tables, Tables]:
    """Commands, and the state that covers a share `follow` of its way to them in a step."""
    rng = np.random.default_rng(seed)
    actions, states = [], []
    for _ in range(episodes):
        command = smooth(rng, int(rng.integers(50, 120)), dims)
        state = np.empty_like(command)
        state[0] = command[0]
        for t in range(len(command) - 1):
            state[t + 1] = state[t] + follow * (command[t] - state[t])
        actions.append(command)
        states.append(state + rng.normal(0, noise, state.shape))
    return actions, states


def delta(seed: int = 0, episodes: int = 12, dims: int = 4, noise: float = 0.002) -> tuple[Tables, Tables]:
    """The steps of the path that the state takes."""
    rng = np.random.default_rng(seed)
    paths = [smooth(rng, int(rng.integers(50, 120)), dims) for _ in range(episodes)]
    moves = [np.diff(path, axis=0, append=path[-1:]) for path in paths]
    return moves, [path + rng.normal(0, noise, path.shape) for path in paths]


def servo(seed: int = 0, episodes: int = 12, gain: float = 0.15) -> tuple[Tables, Tables]:
    """Deltas towards a goal, in proportion to how far it is: they follow from the state exactly."""
    rng = np.random.default_rng(seed)
    actions, states = [], []
    for _ in range(episodes):
        goal, at = rng.uniform(-1, 1, 3), rng.uniform(-1, 1, 3)
        a, s = [], []
        for _ in range(40):
            a.append(gain * (goal - at))
            s.append(at)
            at = at + a[-1]
        actions.append(np.array(a))
        states.append(np.array(s))
    return actions, states


def integrated(actions: Tables, states: Tables) -> Tables:
    """Deltas as the positions that they lead to."""
    return [s[:1, : a.shape[1]] + np.cumsum(a, axis=0) for a, s in zip(actions, states, strict=True)]


def differenced(actions: Tables) -> Tables:
    """Positions as the steps between them."""
    return [np.diff(a, axis=0, append=a[-1:]) for a in actions]
