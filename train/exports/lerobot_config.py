"""config.json of lerobot's policies. It has exactly their fields, because lerobot refuses any other.

Source: lerobot 0.6.1, configs/policies.py (PreTrainedConfig), policies/pi05/configuration_pi05.py (PI05Config). Fields that do
not depend on the run have lerobot's defaults.
"""

import json
from dataclasses import dataclass, field

from fasttok.common import json_files
from train.acting.robots import Robot
from train.config import ModelConfig
from train.exports.lerobot_processors import ACTION, IMAGES, NORM_MAP, STATE, LerobotPolicyFeature
from train.exports.tensor_file import ExportDtype

GRIPPER = ("gripper",)
TOKENIZER_LENGTH = 200
"""Maximum tokens of a prompt in lerobot, unless the run has longer prompts."""


@dataclass(frozen=True, kw_only=True)
class LerobotPolicyConfig:
    """Fields of config.json that lerobot's pi0.5 and pi0-FAST have in common.

    Attributes:
        n_obs_steps: number of observations that the policy sees.
        input_features: cameras and the state, by name.
        output_features: the action, by name.
        device: device to compute on.
        use_amp: whether to compute in mixed precision.
        use_peft: whether adapters were trained.
        push_to_hub: whether lerobot's training uploads the policy.
        repo_id: repository to upload to.
        private: whether the uploaded repository is private.
        tags: tags of the upload.
        license: license of the upload.
        pretrained_path: what lerobot's training starts from.
        pretrained_revision: version of what it starts from.
        paligemma_variant: size of the backbone.
        action_expert_variant: size of the expert; pi0-FAST does not use it.
        dtype: dtype of the weights.
        chunk_size: steps of a chunk.
        n_action_steps: steps of a chunk that are executed before the next one.
        max_state_dim: dimensions of a state; lerobot's code does not use it.
        max_action_dim: dimensions of an action in the model; those that the robot does not have are cut off.
        use_relative_actions: whether actions are relative to the state at the chunk's start.
        relative_exclude_joints: names of the action dims that are not relative.
        action_feature_names: names of all action dims.
        rtc_config: lerobot's real-time chunking.
        image_resolution: height and width in pixels.
        empty_cameras: number of cameras that are always missing.
        tokenizer_max_length: maximum tokens of a prompt.
        normalization_mapping: how each kind of feature is normalised.
        gradient_checkpointing: setting of lerobot's training, like all that follow.
        compile_model: see above.
        compile_mode: see above.
        optimizer_lr: see above.
        optimizer_betas: see above.
        optimizer_eps: see above.
        optimizer_weight_decay: see above.
        optimizer_grad_clip_norm: see above.
        scheduler_warmup_steps: see above.
        scheduler_decay_steps: see above.
        scheduler_decay_lr: see above.
    """

    n_obs_steps: int = 1
    input_features: dict[str, LerobotPolicyFeature]
    output_features: dict[str, LerobotPolicyFeature]
    device: str = "cpu"
    use_amp: bool = False
    use_peft: bool = False
    push_to_hub: bool = False
    repo_id: str | None = None
    private: bool | None = None
    tags: list[str] | None = None
    license: str | None = None
    pretrained_path: str | None = None
    pretrained_revision: str | None = None
    paligemma_variant: str = "gemma_2b"
    action_expert_variant: str = "gemma_300m"
    dtype: ExportDtype
    chunk_size: int
    n_action_steps: int
    max_state_dim: int = 32
    max_action_dim: int
    use_relative_actions: bool = False
    relative_exclude_joints: tuple[str, ...] = GRIPPER
    action_feature_names: tuple[str, ...]
    rtc_config: None = None
    image_resolution: tuple[int, int]
    empty_cameras: int = 0
    tokenizer_max_length: int
    normalization_mapping: dict[str, str] = field(default_factory=lambda: dict(NORM_MAP))
    gradient_checkpointing: bool = False
    compile_model: bool = False
    compile_mode: str = "max-autotune"
    optimizer_lr: float = 2.5e-5
    optimizer_betas: tuple[float, float] = (0.9, 0.95)
    optimizer_eps: float = 1e-8
    optimizer_weight_decay: float = 0.01
    optimizer_grad_clip_norm: float = 1.0
    scheduler_warmup_steps: int = 1_000
    scheduler_decay_steps: int = 30_000
    scheduler_decay_lr: float = 2.5e-6

    def text(self) -> bytes:
        """Returns the file's content."""
        return (json.dumps(json_files.encode(self), indent=2) + "\n").encode()


@dataclass(frozen=True, kw_only=True)
class LerobotConfig(LerobotPolicyConfig):
    """config.json of pi0.5.

    Attributes:
        type: kind of policy.
        num_inference_steps: number of Euler steps of the flow.
        time_sampling_beta_alpha: setting of how training draws flow times, like the next three.
        time_sampling_beta_beta: see above.
        time_sampling_scale: see above.
        time_sampling_offset: see above.
        min_period: shortest period of the flow time's embedding.
        max_period: longest period of the flow time's embedding.
        freeze_vision_encoder: setting of lerobot's training, like the next one.
        train_expert_only: see above.
    """

    type: str = "pi05"
    num_inference_steps: int = 10
    time_sampling_beta_alpha: float = 1.5
    time_sampling_beta_beta: float = 1.0
    time_sampling_scale: float = 0.999
    time_sampling_offset: float = 0.001
    min_period: float = 4e-3
    max_period: float = 4.0
    freeze_vision_encoder: bool = False
    train_expert_only: bool = False


def inputs(robot: Robot, model: ModelConfig) -> dict[str, LerobotPolicyFeature]:
    """Returns the features that a policy sees of a robot: its cameras, in the model's size, and its state."""
    size = (3, model.image_size, model.image_size)
    seen = {IMAGES + slot: LerobotPolicyFeature("VISUAL", size) for slot in robot.cameras}
    return seen | {STATE: LerobotPolicyFeature("STATE", (robot.state_dim,))}


def outputs(robot: Robot) -> dict[str, LerobotPolicyFeature]:
    """Returns the feature that a policy gives a robot: its action."""
    return {ACTION: LerobotPolicyFeature("ACTION", (robot.action_dim,))}
