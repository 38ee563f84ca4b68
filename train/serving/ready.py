"""Loads and compiles a run for the server."""

from train.player import Player
from train.serving.connection import OPTIONS
from train.serving.keys import KeyMap
from train.serving.metadata import ServedRobot, ServerMetadata
from train.serving.run_policy import RunPolicy, chosen_decodes, chosen_embodiment
from train.serving.serve_config import ServeConfig


def ready_policy(config: ServeConfig) -> tuple[RunPolicy, ServerMetadata]:
    """Returns the policy that a command asks for, compiled, and what clients learn about it.

    Args:
        config: flags of the command.

    Raises:
        InputError: the folder is not a run, or a flag does not fit the run.
    """
    keys = KeyMap.load(config.keys).with_prompt(config.prompt)
    player = Player.load(
        config.run, config.flow_steps, 1, config.seed, config.checkpoint, config.temperature
    )  # fmt: skip
    embodiment = chosen_embodiment(player, config.embodiment)
    robot = player.robot(embodiment)
    keys.check(robot)
    decodes = chosen_decodes(player, config.decode)
    policy = RunPolicy(player, keys, embodiment, decodes, config.batch, config.real_time)
    tok, size = player.encoder.tok, player.config.image_size
    metadata = ServerMetadata(
        run=config.run.resolve().name,
        step=player.step,
        embodiment=embodiment,
        embodiments={name: ServedRobot.of(robot, tok, size) for name, robot in policy.robots.items()},
        keys=keys.expected(robot),
        options=OPTIONS,
        decode=decodes[0],
        decodes=decodes,
        real_time=policy.real_time,
        rtc_delay=player.rtc_delay if policy.real_time else 0,
        says_subtasks=player.says,
    )
    policy.warm()
    return policy, metadata
