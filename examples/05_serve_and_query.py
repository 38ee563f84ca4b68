"""Serve a trained run, and ask it for actions, as a robot's computer does.

    pip install '.[pipelines,train,serve]'
    python examples/05_serve_and_query.py

It serves the run of example 04. The robot's computer needs `pip install '.[client]'` only: no JAX, no GPU.
"""

# %% Start the server. Port 0 takes a free port; the server prints its address when it is ready.
import re
import subprocess
from typing import Any

import numpy as np
from my_robot import TASKS, episode, need, pixels

from fasttok.client import Client

need("tour/RUN/config.json", "04_train.py")
command = "fasttok-serve --run tour/RUN --port 0 --batch 1 --no-real-time"
print(f"$ {command}", flush=True)
server = subprocess.Popen(command.split(), stderr=subprocess.PIPE, text=True)


def address() -> str:
    """Reads what the server says until it names its address."""
    for line in server.stderr or ():
        print(line, end="", flush=True)
        if found := re.search(r"serving .* at (ws://\S+)", line):
            return found[1]
    raise SystemExit("the server ended; its own message is above")


# %% Ask for a chunk of actions at some steps of a new episode, and compare its first action with the demonstration.
try:
    with Client(address()) as policy:
        robots: Any = policy.metadata["embodiments"]
        [(name, about)] = robots.items()
        print(f"{name}: {about['horizon']} actions at {about['control_hz']} Hz: {', '.join(about['action_names'])}")
        discs, states, actions = episode(0, np.random.default_rng(100))
        for step in (0, 5, 10):
            seen = {"image/primary": pixels(discs, states[step]), "state": states[step].astype(np.float32)}
            chunk = policy.act(seen, prompt=TASKS[0])  # (horizon, 3), in the units of the recordings
            print(
                f"step {step:2}: the run says {np.round(chunk[0], 2)}, the demonstration {np.round(actions[step], 2)}"
            )
finally:
    server.terminate()
    server.wait()
