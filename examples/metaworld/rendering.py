"""Draws pictures with MuJoCo, without a screen. Shadows and reflections are off: in software they cost ten times all the rest."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.metaworld.robot import SIZE

CLOSER = {"corner2": (0.75, 0.075, 0.7)}  # metres; the package's own camera is so far away that marks are one pixel
TURNED = ("corner", "corner2", "corner3", "corner4")  # cameras that hang upside down


def place_cameras(model: Any) -> None:
    """Moves the cameras that are too far away. The change takes effect at the next `mj_forward` or reset."""
    for name, position in CLOSER.items():
        model.camera(name).pos[:] = position


def image_position(model: Any, data: Any, camera: str, point: NDArray) -> tuple[float, float] | None:
    """Returns where a point of the world is in a picture.

    Args:
        model: the simulator's model.
        data: the model's state.
        camera: name of the camera.
        point: (3,) position in metres.

    Returns:
        Column from the left and row from the top, as shares of the picture in [0, 1); None if the point is outside.
    """
    seen = data.camera(camera)
    across, up, back = seen.xmat.reshape(3, 3).T @ (np.asarray(point) - seen.xpos)
    if back >= 0:
        return None
    half = np.tan(np.deg2rad(model.camera(camera).fovy[0]) / 2) * -back
    column, row = (1 + across / half) / 2, (1 - up / half) / 2
    if camera in TURNED:
        column, row = 1 - column, 1 - row
    inside = 0 <= column < 1 and 0 <= row < 1
    return (float(column), float(row)) if inside else None


class Painter:
    """Draws worlds of one model, which may differ in where things are. It takes about 60 MB."""

    def __init__(self, model: Any, size: int = SIZE) -> None:
        import mujoco

        self._mujoco, self.size = mujoco, size
        model.vis.quality.offsamples = 0  # no smoothing of edges
        self._window = mujoco.gl_context.GLContext(size, size)
        self._window.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=2000)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = 0
        self._option, self._camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED

    def paint(self, model: Any, data: Any, camera: str) -> NDArray[np.uint8]:
        """Returns a state of the model as a camera sees it, upright: (size, size, 3) RGB.

        Args:
            model: model of the world to draw: the one that the painter was made with, or one with the same meshes.
            data: the model's state.
            camera: name of the camera.
        """
        mujoco = self._mujoco
        self._camera.fixedcamid = model.camera(camera).id
        self._window.make_current()
        mujoco.mjv_updateScene(model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene)
        picture = np.empty((self.size, self.size, 3), np.uint8)
        area = mujoco.MjrRect(0, 0, self.size, self.size)
        mujoco.mjr_render(area, self._scene, self._context)
        mujoco.mjr_readPixels(picture, None, area, self._context)
        # OpenGL's first row is the lowest; cameras that hang upside down need their columns turned instead.
        return np.ascontiguousarray(picture[:, ::-1] if camera in TURNED else picture[::-1])

    def close(self) -> None:
        """Frees its memory."""
        self._window.make_current()
        self._context.free()
        self._window.free()
