"""The fifty tasks of MetaWorld: the sentences that ask for each, and what is on its table. This module needs no simulator.

The names are the package's own, without its `-v3`.
"""

from dataclasses import dataclass

from fasttok.errors import InputError, unknown_name

HELD_OUT = "held_out"  # split with sentences that no demonstration has
DEFAULT_TASKS = ("reach", "drawer-open", "button-press-topdown")
MT10 = (
    "reach", "push", "pick-place", "door-open", "drawer-open", "drawer-close", "button-press-topdown", "peg-insert-side",
    "window-open", "window-close",
)  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """Something on the table that questions can be about.

    Attributes:
        noun: name in words, without a colour.
        body: name of its body in the simulator's model, which includes all bodies below it; "" for the mark of a goal.
        material: material of the part that gives it its colour; "" if its geoms have a colour of their own.
        site: name of the site of a goal's mark; "" for bodies.
    """

    noun: str
    body: str = ""
    material: str = ""
    site: str = ""


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        phrases: sentences of the demonstrations.
        held_out: a sentence that no demonstration has, with the same meaning in other words.
        things: what is visible; the first is what the task is about.
    """

    phrases: tuple[str, ...]
    held_out: str
    things: tuple[Thing, ...]


GOAL = Thing("goal mark", site="goal")
BLOCK = Thing("block", "obj", "block_wood")
WALL = Thing("brick wall", "wall", "wall_brick")
BUTTON, BUTTON_BOX = Thing("button", "button", "btn_red"), Thing("button box", "buttonbox", "btn_yellow")
MUG, MACHINE = Thing("mug", "mug", "cmwhite"), Thing("coffee machine", "cm_link", "cmred")
DOOR = Thing("door", "door_link", "dl_metal2")
DOOR_LOCK = Thing("lock", "lock_link", "dl_metal")
DRAWER = Thing("drawer", "drawer_link", "drawer_beige")
DRAWER_HANDLE = Thing("drawer handle", "drawer_link", "drawer_white")
FAUCET = Thing("faucet handle", "faucet_link2", "faucet_red")
HANDLE = Thing("handle", "handle_link", "hdlprs_red")
NUT, PEG = Thing("ring", "asmbly_peg", "asmbly_green"), Thing("peg", "peg", "asmbly_metal")
PLATE, NET = Thing("plate", "puck_channel", "puck_black"), Thing("net", "puck_goal", "puck_red")
STICK, THERMOS = Thing("stick", "stick", "stick_blue"), Thing("thermos", "object", "therm_metal_green")
WINDOW = Thing("window", "window", "window_red")

TASKS: dict[str, Task] = {
    "assembly": Task(
        ("put the ring on the peg", "pick up the ring and place it on the peg", "assemble the ring with the peg"),
        "lift the ring over the peg and let it down",
        (NUT, PEG),
    ),
    "basketball": Task(
        ("put the ball in the basket", "dunk the basketball", "pick up the ball and drop it into the hoop"),
        "bring the ball through the hoop",
        (Thing("ball", "basketball", "bskt_orange"), Thing("hoop", "hooplink", "bskt_red"), GOAL),
    ),
    "bin-picking": Task(
        (
            "move the block to the other bin",
            "pick the block from its bin and put it into the other",
            "change the block's bin",
        ),
        "take the block across to the second bin",
        (Thing("block", "objA", "obj_green"), Thing("first bin", "binA", "bin_red"), Thing("second bin", "binB", "bin_blue")),
    ),
    "box-close": Task(
        ("close the box", "put the lid on the box", "pick up the lid and cover the box with it"),
        "place the cover on top of the box",
        (Thing("lid", "top_link", "box_metal"), Thing("box", "box", "box_wood")),
    ),
    "button-press-topdown": Task(
        ("press the button from above", "push the button down", "press down on the red button"),
        "go above the button and press",
        (BUTTON, BUTTON_BOX),
    ),
    "button-press-topdown-wall": Task(
        (
            "press the button behind the wall from above",
            "push down the button over the wall",
            "reach over the wall and press the button",
        ),
        "go above the wall and press down the button",
        (BUTTON, BUTTON_BOX, WALL),
    ),
    "button-press": Task(
        ("press the button", "push the button in", "press the red button from the front"),
        "go to the button and press",
        (BUTTON, BUTTON_BOX),
    ),
    "button-press-wall": Task(
        ("press the button behind the wall", "push in the button past the wall", "go around the wall and press the button"),
        "press what is behind the wall",
        (BUTTON, BUTTON_BOX, WALL),
    ),
    "coffee-button": Task(
        ("press the button of the coffee machine", "start the coffee machine", "push the coffee machine's button"),
        "make the machine pour coffee",
        (Thing("coffee button", "cmbutton", "cmgrey"), MACHINE, MUG),
    ),
    "coffee-pull": Task(
        (
            "pull the mug away from the coffee machine",
            "take the mug from the coffee machine",
            "move the mug to the goal mark",
        ),
        "bring the mug away from the machine",
        (MUG, MACHINE, Thing("goal mark", site="mug_goal")),
    ),
    "coffee-push": Task(
        (
            "push the mug under the coffee machine",
            "put the mug below the coffee machine",
            "bring the mug to the coffee machine",
        ),
        "place the mug at the machine",
        (MUG, MACHINE, Thing("goal mark", site="coffee_goal")),
    ),
    "dial-turn": Task(
        ("turn the dial", "rotate the dial", "give the dial a half turn"),
        "make the dial turn",
        (Thing("dial", "dial", "dial_red"), GOAL),
    ),
    "disassemble": Task(
        ("take the ring off the peg", "lift the ring from the peg", "pick the ring up and away from the peg"),
        "remove the ring from the peg",
        (NUT, PEG),
    ),
    "door-close": Task(
        ("close the door", "push the door shut", "shut the door"),
        "push the door until it is closed",
        (DOOR, GOAL),
    ),
    "door-lock": Task(
        ("lock the door", "turn the lock down", "rotate the lock of the door clockwise"),
        "turn the lock until the door is locked",
        (DOOR_LOCK, DOOR),
    ),
    "door-open": Task(
        ("open the door", "pull the door open", "pull on the handle of the door"),
        "pull the door until it is open",
        (DOOR, GOAL),
    ),
    "door-unlock": Task(
        ("unlock the door", "turn the lock up", "rotate the lock of the door counterclockwise"),
        "turn the lock until the door is unlocked",
        (DOOR_LOCK, DOOR),
    ),
    "drawer-close": Task(
        ("close the drawer", "push the drawer shut", "shut the drawer"),
        "push the drawer until it is closed",
        (DRAWER_HANDLE, DRAWER, GOAL),
    ),
    "drawer-open": Task(
        ("open the drawer", "pull the drawer open", "pull on the handle of the drawer"),
        "pull the drawer until it is open",
        (DRAWER_HANDLE, DRAWER, GOAL),
    ),
    "faucet-close": Task(
        ("close the faucet", "turn the faucet off", "rotate the faucet handle clockwise"),
        "turn the faucet until it is closed",
        (FAUCET,),
    ),
    "faucet-open": Task(
        ("open the faucet", "turn the faucet on", "rotate the faucet handle counterclockwise"),
        "turn the faucet until it is open",
        (FAUCET,),
    ),
    "hammer": Task(
        ("hammer the nail into the wood", "pick up the hammer and hit the nail", "drive in the nail with the hammer"),
        "use the hammer on the nail",
        (
            Thing("hammer", "hammer", "hmr_red"),
            Thing("nail", "nail_link", "hmr_metal"),
            Thing("wooden box", "hammerblock", "hmr_wood"),
        ),
    ),
    "hand-insert": Task(
        (
            "put the block into the hole",
            "insert the gripper with the block into the hole",
            "bring the block down into the hole",
        ),
        "lower the block into the hole",
        (BLOCK, GOAL),
    ),
    "handle-press-side": Task(
        ("press the handle down from the side", "push down the handle sideways", "press down the handle at its side"),
        "from the side, push the handle down",
        (HANDLE,),
    ),
    "handle-press": Task(
        ("press the handle down", "push down the handle", "press on the handle"),
        "go above the handle and push",
        (HANDLE,),
    ),
    "handle-pull-side": Task(
        ("pull the handle up from the side", "lift the handle sideways", "pull up the handle at its side"),
        "from the side, lift the handle up",
        (HANDLE,),
    ),
    "handle-pull": Task(
        ("pull the handle up", "lift the handle", "pull up on the handle"),
        "go under the handle and lift",
        (HANDLE,),
    ),
    "lever-pull": Task(
        ("pull the lever up", "lift the lever", "pull the lever until it stands"),
        "make the lever go up",
        (Thing("lever", "lever_link1", "lever_blue"), GOAL),
    ),
    "peg-insert-side": Task(
        (
            "insert the peg into the hole from the side",
            "put the peg into the hole of the box",
            "pick up the peg and insert it",
        ),
        "bring the peg into the side of the box",
        (Thing("peg", "peg"), Thing("box", "box", "peg_block_red")),  # the mark is hidden inside the box
    ),
    "peg-unplug-side": Task(
        ("unplug it from the wall", "pull the plug out from the side", "take the plug out of the wall"),
        "pull until the plug is out",
        (Thing("plug", "plug", "plug_gold"), Thing("socket", "plug_wall", "plug_white"), GOAL),
    ),
    "pick-out-of-hole": Task(
        ("pick the block out of the hole", "lift the block from the hole", "take the block out of the hole to the goal mark"),
        "get the block from the hole",
        (Thing("block", "obj", "block_red"), GOAL),
    ),
    "pick-place": Task(
        (
            "pick up the block and bring it to the blue mark",
            "pick and place the block at the blue mark",
            "lift the block to the blue mark",
        ),
        "carry the block to the blue mark",
        (BLOCK, GOAL),
    ),
    "pick-place-wall": Task(
        (
            "pick up the block and bring it over the wall",
            "lift the block over the wall to the blue mark",
            "pick and place the block behind the wall",
        ),
        "carry the block to the other side of the wall",
        (BLOCK, GOAL, WALL),
    ),
    "plate-slide-back-side": Task(
        (
            "slide the plate back sideways out of the net",
            "pull the plate out of the net to the side",
            "move the plate sideways from the net",
        ),
        "to the side, slide the plate from the net",
        (PLATE, NET, GOAL),
    ),
    "plate-slide-back": Task(
        ("slide the plate back out of the net", "pull the plate out of the net", "move the plate back from the net"),
        "bring the plate back out of the net",
        (PLATE, NET, GOAL),
    ),
    "plate-slide-side": Task(
        (
            "slide the plate sideways into the net",
            "push the plate into the net at the side",
            "move the plate to the net at the side",
        ),
        "to the side, slide the plate into the net",
        (PLATE, NET, GOAL),
    ),
    "plate-slide": Task(
        ("slide the plate into the net", "push the plate into the net", "move the plate forward into the net"),
        "bring the plate into the net",
        (PLATE, NET, GOAL),
    ),
    "push-back": Task(
        (
            "pull the block back to the green mark",
            "push the block back to the green mark",
            "move the block back to the green mark",
        ),
        "bring the block back to the green mark",
        (BLOCK, GOAL),
    ),
    "push": Task(
        (
            "push the block to the green mark",
            "slide the block to the green mark",
            "move the block over the table to the green mark",
        ),
        "bring the block to the green mark",
        (BLOCK, GOAL),
    ),
    "push-wall": Task(
        (
            "push the block around the wall to the green mark",
            "slide the block behind the wall",
            "move the block past the wall to the green mark",
        ),
        "bring the block around the wall",
        (BLOCK, GOAL, WALL),
    ),
    "reach": Task(
        ("reach the red mark", "move the gripper to the red mark", "go to the red mark"),
        "bring the gripper to the red mark",
        (GOAL, BLOCK),
    ),
    "reach-wall": Task(
        (
            "reach the red mark behind the wall",
            "move the gripper over the wall to the red mark",
            "go past the wall to the red mark",
        ),
        "bring the gripper behind the wall to the red mark",
        (GOAL, WALL, BLOCK),
    ),
    "shelf-place": Task(
        ("put the block on the shelf", "pick up the block and place it on the shelf", "lift the block onto the shelf"),
        "bring the block up to the shelf",
        (Thing("block", "obj"), Thing("shelf", "shelf", "shelf_wood"), GOAL),
    ),
    "soccer": Task(
        ("kick the ball into the goal", "push the ball into the goal", "score a goal with the ball"),
        "bring the ball into the goal",
        (Thing("ball", "soccer_ball1", "soccer_white"), Thing("soccer goal", "soccer_goal", "soccer_blue")),
    ),
    "stick-pull": Task(
        (
            "pull the thermos with the stick",
            "pick up the stick and pull the thermos with it",
            "use the stick to pull the thermos",
        ),
        "bring the thermos with the stick",
        (STICK, THERMOS, GOAL),
    ),
    "stick-push": Task(
        (
            "push the thermos with the stick",
            "pick up the stick and push the thermos with it",
            "use the stick to push the thermos",
        ),
        "move the thermos with the stick",
        (STICK, THERMOS, GOAL),
    ),
    "sweep-into": Task(
        ("sweep the block into the hole", "push the block into the hole", "slide the block into the hole"),
        "bring the block into the hole",
        (BLOCK, GOAL),
    ),
    "sweep": Task(
        ("sweep the block off the table", "push the block off the table", "slide the block from the table"),
        "bring the block off the table",
        (Thing("block", "obj", "block_wood"),),
    ),
    "window-close": Task(
        ("close the window", "push the window shut", "slide the window closed"),
        "push the window until it is closed",
        (WINDOW, GOAL),
    ),
    "window-open": Task(
        ("open the window", "push the window open", "slide the window open"),
        "push the window until it is open",
        (WINDOW, GOAL),
    ),
}  # fmt: skip


TASK_SETS: dict[str, tuple[str, ...]] = {"all": tuple(TASKS), "mt10": MT10}


def task_names(words: tuple[str, ...]) -> tuple[str, ...]:
    """Returns names of tasks as `TASKS` has them.

    Args:
        words: names, with or without the package's `-v3`; `mt10` stands for the package's MT10, `all` for every task.

    Raises:
        InputError: there is no such task, or no task is named.

    >>> task_names(("reach-v3", "push"))
    ('reach', 'push')
    """
    names = tuple(dict.fromkeys(name for word in words for name in TASK_SETS.get(word, (word.removesuffix("-v3"),))))
    for name in names:
        if name not in TASKS:
            raise unknown_name("MetaWorld task", name, [*TASKS, *TASK_SETS])
    if not names:
        raise InputError(f"no MetaWorld task is named; expected some of {', '.join(TASKS)}, mt10, or all")
    return names


@dataclass(frozen=True)
class Split:
    """The tasks and sentences of episodes.

    Attributes:
        tasks: names of tasks; episodes take them in turn, by their seed.
        held_out: whether instructions are sentences that no demonstration has.
    """

    tasks: tuple[str, ...]
    held_out: bool = False

    @classmethod
    def named(cls, name: str) -> "Split":
        """Reads a split from its name.

        Args:
            name: `seen` (the default tasks), tasks (`reach`, `reach+push`, `mt10`, `all`), or `held_out` (the default tasks
                in other words); parts are joined with a plus sign: `drawer-open+held_out`.

        Raises:
            InputError: there is no such task.

        >>> Split.named("push+held_out")
        Split(tasks=('push',), held_out=True)
        """
        parts = name.split("+")
        words = tuple(part for part in parts if part not in (HELD_OUT, "seen"))
        return cls(task_names(words or DEFAULT_TASKS), HELD_OUT in parts)
