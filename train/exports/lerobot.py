r"""lerobot's layout: the files that its PI05Policy and its processor factory load, without a network.

    config.json                       PI05Config (`train.exports.lerobot_config`)
    model.safetensors                 openpi's names under "model."
    policy_preprocessor.json, .safetensors   our statistics, the prompt, the tokenizer (`train.exports.lerobot_processors`)
    policy_postprocessor.json, .safetensors  actions back to raw units
    text_tokenizer/                   the run's text tokenizer, in transformers' form

Source: lerobot 0.6.1, policies/pi05. Its prompt is `<bos>Task: {task}, State: {state};\nAction: `, with the state in 256 bins.
If our prompt differs, the exported tokenizer changes lerobot's into ours (`prompt_rewrite`).
"""

from fasttok.errors import InputError
from train.acting.robots import Robot
from train.exports.layout import Flat, Layout, LayoutFiles, check_pi05
from train.exports.lerobot_config import TOKENIZER_LENGTH, LerobotConfig, inputs, outputs
from train.exports.lerobot_limits import limits
from train.exports.lerobot_processors import (
    BATCH,
    DEVICE,
    POST,
    PRE,
    RENAME,
    STATE_PROMPT,
    LerobotStep,
    normalizer,
    processor_files,
    robot_quantiles,
    tokenizer,
)
from train.exports.lerobot_stats import reads_state
from train.exports.relative_actions import RelativeDims, relative_dims
from train.exports.robot_columns import own_columns
from train.exports.source import ExportSource
from train.exports.tensor_file import TensorToWrite
from train.exports.tensors import THEIR_VOCAB, tensors
from train.exports.transformers_tokenizer import TOKENIZER_FOLDER, Rewrite, tokenizer_files
from train.weights.matching import WeightsReport

BEFORE_STATE, WHOLE_STATE = r", State: (?=[-0-9 ]*;\nAction: \z)", r", State: [-0-9 ]*;\nAction: \z"
"""Regular expressions for parts of lerobot's prompt, which match whatever the task says."""


def check(source: ExportSource) -> None:
    """Checks that lerobot would act as the run does.

    Raises:
        InputError: the run has another recipe or form of the state than pi0.5, several robots of which none is chosen, a robot
            without cameras, or actions in a form that lerobot cannot bring back to raw units.
    """
    check_pi05(source, "lerobot")
    robot = source.robot()
    if not robot.cameras:
        raise InputError(
            f"{robot.embodiment} has no camera in {source.where}, and lerobot's pi0.5 does not run without one; serve the run "
            "with fasttok-serve"
        )
    relative_dims(robot, source.where)


def prompt_rewrite(source: ExportSource, robot: Robot) -> Rewrite | None:
    """Returns the change that turns lerobot's prompt into ours; None if they are equal."""
    control = source.encoder.control.get(robot.embodiment, "")
    before = f", Control: {control}" if control else ""
    if not reads_state(source, robot):
        return Rewrite(WHOLE_STATE, f"{before}, State: ;\nAction: ")
    return Rewrite(BEFORE_STATE, f"{before}, State: ") if control else None


def files(source: ExportSource) -> LayoutFiles:
    """Returns all files except the weights, and what they cannot express."""
    robot = source.robot()
    relative = relative_dims(robot, source.where)
    length = max(TOKENIZER_LENGTH, source.config.data.text_length)
    folder = f"{source.folder}/{TOKENIZER_FOLDER}"
    config = lerobot_config(source, robot, relative, length)
    quantiles = robot_quantiles(source, robot)
    told = {"exclude_joints": list(config.relative_exclude_joints), "action_names": list(config.action_feature_names)}
    into = [
        RENAME,
        BATCH,
        LerobotStep("relative_actions_processor", {"enabled": config.use_relative_actions, **told}),
        normalizer("normalizer_processor", config.input_features | config.output_features, quantiles),
        STATE_PROMPT,
        tokenizer(folder, length),
        DEVICE,
    ]
    back = [
        normalizer("unnormalizer_processor", config.output_features, quantiles),
        LerobotStep("absolute_actions_processor", {"enabled": config.use_relative_actions}),
        DEVICE,
    ]
    return LayoutFiles(
        {"config.json": config.text()}
        | processor_files(PRE, into)
        | processor_files(POST, back)
        | tokenizer_files(source.encoder.text, length, prompt_rewrite(source, robot)),
        tuple(limits(source, robot, relative is not None, length)),
        f"lerobot finds the tokenizer at {folder}, from any folder. If DIR moves, give make_pre_post_processors:\n"
        f'  preprocessor_overrides={{"tokenizer_processor": {{"tokenizer_name": "NEW_DIR/{TOKENIZER_FOLDER}"}}}}',
    )


def lerobot_config(source: ExportSource, robot: Robot, relative: RelativeDims | None, length: int) -> LerobotConfig:
    """Returns config.json for one robot.

    Args:
        source: what is exported.
        robot: robot that acts.
        relative: how its actions are relative; None if they are not.
        length: maximum tokens of a prompt.
    """
    model = source.config.model
    return LerobotConfig(
        input_features=inputs(robot, model),
        output_features=outputs(robot),
        dtype=source.dtype,
        chunk_size=robot.horizon,
        n_action_steps=robot.horizon if relative is None else 1,
        max_action_dim=model.action_dim,
        use_relative_actions=relative is not None,
        relative_exclude_joints=relative.kept if relative else (),
        action_feature_names=relative.names if relative else robot.action_names,
        image_resolution=(model.image_size, model.image_size),
        tokenizer_max_length=length,
    )


def robot_tensors(flat: Flat, source: ExportSource) -> tuple[list[TensorToWrite], WeightsReport]:
    """Returns the tensors for one robot."""
    model = source.config.model
    own, rows = own_columns(flat, model, source.robot())
    listed, report = tensors(own, model, "lerobot", source.rows(THEIR_VOCAB))
    return listed, WeightsReport(report.title, (*report.rows, *rows))


LAYOUT = Layout(check=check, files=files, tensors=robot_tensors)
