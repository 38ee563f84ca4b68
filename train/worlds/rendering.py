"""Whether MuJoCo can draw without a screen: tried in a child process, and a failure says what to install.

Robots' worlds of others draw with MuJoCo, which needs a graphics library of the system. One that is missing or broken can end a
process, so a child tries first: no other way of asking is safe. MuJoCo reads MUJOCO_GL when it is imported; it is set here to the
first way that works.
"""

import os
import subprocess
import sys

from fasttok.errors import InputError

VARIABLE = "MUJOCO_GL"
TRIED = "FASTTOK_RENDERS_BY"  # the way that worked, so that neither this process nor its children try again
WAYS = ("egl", "osmesa")
INSTALL = "apt-get install libegl1 libgl1-mesa-dri, or apt-get install libosmesa6 (Debian's and Ubuntu's names)"
SECONDS = 300  # a first start on a slow machine; a child that takes longer hangs
TRIAL = """
import os
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
renderer = mujoco.Renderer(model, 16, 16)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer.update_scene(data)
print("drawn", renderer.render().shape, flush=True)
os._exit(0)
"""


def check_rendering() -> str:
    """Chooses a way of drawing that works and sets MUJOCO_GL to it; to be called before MuJoCo is imported.

    MUJOCO_GL is respected where it is set. The package `mujoco` is there. This process and its children remember the result.

    Returns:
        The way, as MUJOCO_GL names it.

    Raises:
        InputError: nothing can be drawn here: why, and what to install.
    """
    given, failed = os.environ.get(VARIABLE), []
    if given and os.environ.get(TRIED) == given:
        return given
    for way in (given,) if given else WAYS:
        reason = _reason_against(way)
        if reason is None:
            os.environ[VARIABLE] = os.environ[TRIED] = way
            return way
        failed.append(f"{VARIABLE}={way}: {reason}")
    raise InputError(f"MuJoCo cannot draw without a screen here ({'; '.join(failed)}). It needs a library: {INSTALL}")


def _reason_against(way: str) -> str | None:
    """None if a child process could draw; else the last line of what it said."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", TRIAL],
            env={**os.environ, VARIABLE: way}, capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"it took more than {SECONDS} s"
    if done.returncode == 0 and "drawn (16, 16, 3)" in done.stdout:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"it ended with status {done.returncode}"
