"""Lists what lerobot's files cannot express about a run, and the consequences. Each text completes "lerobot cannot hold ..."."""

from train.acting.robots import Robot
from train.exports.layout import image_steps
from train.exports.lerobot_stats import reads_state, rounded_actions, rounded_states
from train.exports.source import ExportSource
from train.exports.tensors import THEIR_SIZES, THEIR_VOCAB, differences


def limits(source: ExportSource, robot: Robot, relative: bool, length: int) -> list[str]:
    """Lists everything that lerobot's pi0.5 cannot express.

    Args:
        source: what is exported.
        robot: robot that acts.
        relative: whether its actions are relative to the state.
        length: maximum tokens of a prompt.
    """
    return [
        *_of_sizes(source),
        *_of_shapes(source, robot),
        *of_numbers(source, robot),
        *_of_acting(source, robot, relative),
        *of_images(source, robot),
        f"prompts of more than {length} tokens: lerobot cuts them at their end, and says nothing",
    ]


def size_differences(source: ExportSource) -> dict[str, str]:
    """Returns the sizes of the model that lerobot does not build, by name.

    The image size is not among them if patches have 14 pixels, because lerobot takes any number of such patches.
    """
    model = source.config.model
    wrong = differences(model, source.rows(THEIR_VOCAB))
    if model.patch == THEIR_SIZES["patch"]:
        wrong.pop("image_size", None)
    return wrong


def _of_sizes(source: ExportSource) -> list[str]:
    wrong = size_differences(source)
    if not wrong:
        return []
    sizes = ", ".join(f"{name} {note.replace(', their classes build', ', not')}" for name, note in wrong.items())
    return [
        f"a model of other sizes than PaliGemma's with an expert of 300M ({sizes}). lerobot loads config.json and both "
        "processors, but PI05Policy.from_pretrained cannot take the weights: it prints a warning and goes on with random ones. "
        "Run the policy with fasttok-serve, or in a lerobot whose table of sizes is changed"
    ]


def _of_shapes(source: ExportSource, robot: Robot) -> list[str]:
    model, said = source.config.model, []
    if robot.horizon < model.horizon:
        said.append(
            f"the noise that was behind {robot.embodiment}'s chunks in training: they have {robot.horizon} steps, the longest of "
            f"the run {model.horizon}. lerobot computes {robot.horizon} steps alone, so its chunks differ somewhat from ours"
        )
    if robot.action_dim < model.action_dim:
        said.append(
            f"the noise in columns {robot.action_dim} to {model.action_dim - 1} of an action, which {robot.embodiment} does not "
            "have. Their part of action_in_proj is written as zeros, so that nothing reads what lerobot computes there; chunks "
            "differ from ours as if that noise were 0"
        )
    return said


def of_numbers(source: ExportSource, robot: Robot) -> list[str]:
    """Lists the limits for states and actions: a missing state, a state that is cut to its range, and rounding."""
    stats, state, said = source.tok.stats[robot.embodiment], source.tok.state_stats.get(robot.embodiment), []
    if not reads_state(source, robot) or state is None:
        said.append(
            "a policy without a state: lerobot asks for observation.state anyway, and the exported tokenizer takes it out "
            "of the prompt, whatever it is"
        )
    else:
        if state.clip:
            said.append("a state that is cut to its range: below it, lerobot's prompt says -1 and ours 0")
        rounded = rounded_states(state)
        if rounded:
            said.append(
                f"states whose range is that small beside their values: {_named(robot.state_names, rounded)}. lerobot normalises "
                "in float32, which moves them by more than half a bin of the prompt"
            )
    rounded = rounded_actions(stats)
    if rounded:
        said.append(
            f"actions whose range is that small beside their values: {_named(robot.action_names, rounded)}. lerobot computes in "
            "float32, which moves them by more than a thousandth of their range"
        )
    return said


def _of_acting(source: ExportSource, robot: Robot, relative: bool) -> list[str]:
    said = []
    if relative:
        said.append(
            "a queue of relative actions: lerobot adds the newest state to each, not the one that their chunk began with. So "
            "n_action_steps is 1, and lerobot's rollout takes the policy with --inference.type=rtc only"
        )
    if source.config.rtc_delay:
        said.append(
            f"real-time chunking as it was trained (--rtc-delay {source.config.rtc_delay}): lerobot steers chunks by guidance "
            "instead"
        )
    return [*said, *of_subtasks(source, robot), *of_prompts(robot, "lerobot"), *of_grippers(robot, "lerobot")]


def of_subtasks(source: ExportSource, robot: Robot) -> list[str]:
    """Says that lerobot's policy knows no subtasks; [] if no prompt of the run contained one."""
    if not robot.subtask or source.config.data.subtasks >= 1:
        return []
    return ["subtasks in the prompt: lerobot's policy neither says nor takes them, and acts on the task alone"]


def of_prompts(robot: Robot, project: str) -> list[str]:
    """Says in which words training read an instruction; [] if prompts were the instruction alone."""
    if robot.worded("TASK") == "TASK":
        return []
    return [
        f"the words around an instruction: training read {robot.worded('TASK')!r}, and {project} reads the task as it gets it; "
        "give it the task in these words"
    ]


def of_grippers(robot: Robot, project: str) -> list[str]:
    """Says what the numbers of a gripper mean; [] if none was brought to the convention of the shards."""
    named = [name for name, kind in zip(robot.action_names, robot.action_encoding, strict=True) if kind == "gripper"]
    if not named:
        return []
    return [
        f"the numbers that the robot's gripper takes: {', '.join(named)} is 1 for open and 0 for closed, as in the shards, and "
        f"{project} sends it so; convert it, and the gripper of the state, between the policy and the robot"
    ]


def of_images(source: ExportSource, robot: Robot) -> list[str]:
    """Says how the training images were made, and how lerobot's differ."""
    side = source.config.model.image_size
    return [
        f"{image_steps(source, robot)}. lerobot takes frames as they come, and resizes them by torch's filter, which does not "
        f"smooth, with black edges. Frames of {side} x {side} stay as they are"
    ]


def _named(names: tuple[str, ...], dims: list[int]) -> str:
    return ", ".join(names[dim] for dim in dims)
