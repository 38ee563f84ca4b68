"""config.json of lerobot's pi0-FAST: exactly its fields, as it refuses any other.

Source: lerobot 0.6.1, configs/policies.py (PreTrainedConfig), policies/pi0_fast/configuration_pi0_fast.py (PI0FastConfig). What a
run does not decide has lerobot's default.
"""

from dataclasses import dataclass, field

from train.exports.lerobot_config import GRIPPER
from train.exports.lerobot_processors import NORM_MAP, LerobotPolicyFeature
from train.exports.tensor_file import ExportDtype


@dataclass(frozen=True, kw_only=True)
class Pi0FastConfig:
    """config.json.

    Attributes:
        type: of the policy.
        n_obs_steps: observations that it sees.
        input_features: cameras and the state by name.
        output_features: the action by name.
        device: to compute on.
        use_amp: whether in mixed precision.
        use_peft: whether adapters were trained.
        push_to_hub: whether lerobot's training uploads the policy.
        repo_id: where to.
        private: whether for its owner alone.
        tags: of the upload.
        license: of the upload.
        pretrained_path: what lerobot's training starts from.
        pretrained_revision: which version of it.
        paligemma_variant: size of the backbone.
        action_expert_variant: of no use here.
        dtype: of the weights.
        chunk_size: steps of a chunk.
        n_action_steps: steps that are decoded and carried out: all of a chunk.
        max_state_dim: dimensions of a state, of which its code makes no use.
        max_action_dim: dimensions of an action.
        max_action_tokens: most tokens of a chunk and its end, in training.
        use_relative_actions: whether actions are relative to the state at the chunk's start.
        relative_exclude_joints: names of the action dims that are not.
        action_feature_names: of all action dims.
        rtc_config: lerobot's real-time chunking.
        image_resolution: height and width in pixels.
        empty_cameras: cameras that are always missing.
        tokenizer_max_length: tokens of a prompt.
        text_tokenizer_name: folder of the text tokenizer.
        action_tokenizer_name: folder of the FAST tokenizer.
        temperature: of sampled tokens; 0 takes the likeliest.
        max_decoding_steps: most tokens that are written; by sampling, always so many.
        fast_skip_tokens: FAST id i is token vocab_size - 1 - fast_skip_tokens - i.
        validate_action_token_prefix: whether the model writes "Action: " itself.
        use_kv_cache: whether keys and values are kept from token to token.
        normalization_mapping: how each kind of feature is normalised.
        gradient_checkpointing: of lerobot's training, as what follows.
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

    type: str = "pi0_fast"
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
    max_action_tokens: int
    use_relative_actions: bool = False
    relative_exclude_joints: tuple[str, ...] = GRIPPER
    action_feature_names: tuple[str, ...]
    rtc_config: None = None
    image_resolution: tuple[int, int]
    empty_cameras: int = 0
    tokenizer_max_length: int
    text_tokenizer_name: str
    action_tokenizer_name: str
    temperature: float = 0.0
    max_decoding_steps: int
    fast_skip_tokens: int
    validate_action_token_prefix: bool = False
    use_kv_cache: bool = True
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
