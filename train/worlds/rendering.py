"""Tries in a child process whether MuJoCo can draw without a screen; if it cannot, the error says what to install.

Many worlds draw with MuJoCo, which needs a graphics library of the system. A missing or broken library can end the process, so a
child process tries it first; there is no other safe way to find out. MuJoCo reads MUJOCO_GL when it is imported, so this module
sets it to the first way of drawing that works.
"""

import os
import subprocess
import sys

from fasttok.errors import InputError

VARIABLE = "MUJOCO_GL"
TRIED = "FASTTOK_RENDERS_BY"  # the way that worked, so that this process and its children do not try again
WAYS = ("egl", "osmesa")
INSTALL = "apt-get install libegl1 libgl1-mesa-dri, or apt-get install libosmesa6 (Debian's and Ubuntu's names)"
SECONDS = 300  # enough for a first start on a slow machine; a child that takes longer hangs
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
    """Chooses a way of drawing that works and sets MUJOCO_GL to it. Call this before MuJoCo is imported.

    If MUJOCO_GL is already set, only that way is tried. The package `mujoco` must be installed. This process and its children
    remember the result.

    Returns:
        The way, as MUJOCO_GL names it.

    Raises:
        InputError: MuJoCo cannot draw here; the error says why, and what to install.
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
    """Returns why a child process could not draw (the last line of its errors); None if it could."""
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
