"""Simulates one task of MetaWorld: reset by a seed, steps, pictures, scenes, and actions of the package's scripted expert."""

import warnings
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.metaworld.rendering import Painter, image_position, place_cameras
from examples.metaworld.robot import CAMERAS, as_taken
from examples.metaworld.scene import Place, Scene, SeenThing, colour_word
from examples.metaworld.tasks import TASKS, Thing
from fasttok.errors import InputError
from train.worlds.rendering import check_rendering

PACKAGE, VERSION = "metaworld", "3.1.1"
INSTALL = f"pip install -c constraints.txt {PACKAGE}=={VERSION}"
DRAWN_GROUPS = 3  # geoms of MuJoCo's groups 0 to 2 are drawn; the others only collide
NO_COLOUR = 0.5  # each channel of a geom that takes its colour from its material


def check_package() -> None:
    """Checks that the package is installed in the version that this module was written for, and that it can draw.

    Raises:
        InputError: it is not, or it cannot draw; the message says what to install.
    """
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        raise InputError(
            f"the package {PACKAGE} is not installed, which simulates this world; run: {INSTALL}"
        ) from None
    if found != VERSION:
        raise InputError(
            f"{PACKAGE} {found} is installed, expected {VERSION}: worlds of other versions differ; run: {INSTALL}"
        )
    check_rendering()


class Simulation:
    """One task on one table. The same seed gives the same table, whatever was simulated before.

    Attributes:
        task: name of the task in `tasks.TASKS`.
        observation: (39,) observation of the package. It contains the goal, so only the expert may see it.
        success: whether the package calls the last step a success.
        steps: number of steps since the last reset.
        moment: number of resets and steps so far; a view of an earlier moment is out of date.
    """

    def __init__(self, task: str) -> None:
        """Makes the table.

        Raises:
            InputError: the package is missing, or cannot draw.
        """
        check_package()
        import mujoco
        from metaworld import ALL_V3_ENVIRONMENTS
        from metaworld.policies import ENV_POLICY_MAP

        self.task, self._mujoco = task, mujoco
        self._world: Any = ALL_V3_ENVIRONMENTS[f"{task}-v3"]()
        self._expert = ENV_POLICY_MAP[f"{task}-v3"]()
        # The package's own benchmarks set this with a pickled task: the goal is observed, and layouts are drawn from the seed.
        self._world._partially_observable = False
        del self._world.sawyer_observation_space
        self._world._set_task_called, self._world.seeded_rand_vec = True, True
        model = self._world.model
        place_cameras(model)
        self._unmoved = model.body_pos.copy(), model.site_pos.copy()  # before any reset moves them
        self.observation, self.success, self.moment = np.zeros(39), False, 0
        self.steps = 0

    def reset(self, seed: int) -> None:
        """Sets up a new table."""
        world = self._world
        world.model.body_pos[:], world.model.site_pos[:] = self._unmoved
        world.seed(seed)
        world._freeze_rand_vec = False
        world.reset()  # draws the layout
        world._freeze_rand_vec = True
        # A second reset keeps that layout: the package shows what it has moved only after another reset.
        self.observation, _ = world.reset()
        self._mujoco.mj_kinematics(world.model, world.data)  # moves the marks, too
        self.success, self.steps, self.moment = False, 0, self.moment + 1

    def step(self, action: NDArray) -> None:
        """Does one control step.

        Args:
            action: (4,) in the simulator's convention (`robot.to_simulator`); values outside [-1, 1] are cut.

        Raises:
            ValueError: `action` is not 4 finite numbers.
        """
        self.observation, _, _, _, told = self._world.step(as_taken(action))
        self.success, self.steps, self.moment = bool(told["success"]), self.steps + 1, self.moment + 1

    def expert(self) -> NDArray[np.float32]:
        """Returns the next action of the package's scripted expert, (4,) in [-1, 1]."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package warns about each action that is too large
            return as_taken(self._expert.get_action(self.observation))

    def picture(self, slot: str) -> NDArray[np.uint8]:
        """Draws the picture of a camera of the robot, primary or wrist: (SIZE, SIZE, 3) RGB."""
        model = self._world.model
        return _painter(self.task).paint(model, self._world.data, CAMERAS[slot])

    def scene(self) -> Scene:
        """Returns what the primary camera sees now."""
        things = tuple(
            SeenThing(thing.noun, self.colour(thing), self._place(self.position(thing)))
            for thing in TASKS[self.task].things
        )
        return Scene(self.task, things, self._place(self._world.tcp_center), float(self.observation[3]))

    def position(self, thing: Thing) -> NDArray[np.float64]:
        """Returns where the middle of a thing is, (3,) in metres.

        Raises:
            KeyError: the simulator's model has no such thing.
        """
        if thing.site:
            return np.array(self._world.data.site(thing.site).xpos)
        return np.array(self._world.data.geom_xpos[self._geoms(thing)].mean(axis=0))

    def colour(self, thing: Thing) -> str:
        """Returns the colour of a thing in one word, from its site, its material (with its texture) or its geom.

        Raises:
            KeyError: the simulator's model has no such thing.
        """
        model = self._world.model
        if thing.site:
            return colour_word(model.site_rgba[model.site(thing.site).id])
        return colour_word(_drawn_colour(model, self._geoms(thing)[0]))

    def _geoms(self, thing: Thing) -> list[int]:
        """Returns the geoms of a thing that are drawn; only those of its material, if it names one."""
        model = self._world.model
        top = model.body(thing.body).id
        bodies = [body for body in range(model.nbody) if body == top or _below(model, body, top)]
        found = [
            geom
            for geom in range(model.ngeom)
            if model.geom_bodyid[geom] in bodies
            and model.geom_group[geom] < DRAWN_GROUPS
            and (not thing.material or _name_of_material(model, geom) == thing.material)
        ]
        if not found:
            raise KeyError(f"{self.task}: no geom of {thing}")
        return found

    def _place(self, point: NDArray) -> Place | None:
        return image_position(self._world.model, self._world.data, CAMERAS["primary"], point)


@cache
def _painter(task: str) -> Painter:
    """Returns the only painter of a task: all its worlds have the same meshes."""
    return Painter(Simulation(task)._world.model)


def _below(model: Any, body: int, top: int) -> bool:
    while body:
        body = int(model.body_parentid[body])
        if body == top:
            return True
    return False


def _name_of_material(model: Any, geom: int) -> str:
    number = model.geom_matid[geom]
    return str(model.mat(number).name) if number >= 0 else ""


def _drawn_colour(model: Any, geom: int) -> NDArray[np.float64]:
    """Returns the colour of a geom, (3,): its own or else its material's, times the mean of the material's texture."""
    own, material = np.array(model.geom_rgba[geom][:3], float), int(model.geom_matid[geom])
    if material < 0:
        return own
    colour = own if np.any(own != NO_COLOUR) else np.array(model.mat_rgba[material][:3], float)
    texture = int(np.max(model.mat_texid[material]))
    if texture < 0:
        return colour
    channels, first = int(model.tex_nchannel[texture]), int(model.tex_adr[texture])
    count = int(model.tex_height[texture]) * int(model.tex_width[texture]) * channels
    pixels = model.tex_data[first : first + count].reshape(-1, channels)
    return colour * pixels[:, :3].mean(axis=0) / 255
