"""config.json of lerobot's pi0-FAST: exactly its fields, as it refuses any other.

Source: lerobot 0.6.1, policies/pi0_fast/configuration_pi0_fast.py (PI0FastConfig). What a run does not decide has lerobot's
default.
"""

from dataclasses import dataclass

from train.exports.lerobot_config import LerobotPolicyConfig


@dataclass(frozen=True, kw_only=True)
class Pi0FastConfig(LerobotPolicyConfig):
    """config.json.

    Attributes:
        type: of the policy.
        max_action_tokens: most tokens of a chunk and its end, in training.
        text_tokenizer_name: folder of the text tokenizer.
        action_tokenizer_name: folder of the FAST tokenizer.
        temperature: of sampled tokens; 0 takes the likeliest.
        max_decoding_steps: most tokens that are written; by sampling, always so many.
        fast_skip_tokens: FAST id i is token vocab_size - 1 - fast_skip_tokens - i.
        validate_action_token_prefix: whether the model writes "Action: " itself.
        use_kv_cache: whether keys and values are kept from token to token.
    """

    type: str = "pi0_fast"
    max_action_tokens: int
    text_tokenizer_name: str
    action_tokenizer_name: str
    temperature: float = 0.0
    max_decoding_steps: int
    fast_skip_tokens: int
    validate_action_token_prefix: bool = False
    use_kv_cache: bool = True
