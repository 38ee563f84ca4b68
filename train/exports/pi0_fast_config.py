"""config.json of lerobot's pi0-FAST. It has exactly the fields of pi0-FAST, because lerobot refuses any other.

Source: lerobot 0.6.1, policies/pi0_fast/configuration_pi0_fast.py (PI0FastConfig). Fields that do not depend on the run have
lerobot's defaults.
"""

from dataclasses import dataclass

from train.exports.lerobot_config import LerobotPolicyConfig


@dataclass(frozen=True, kw_only=True)
class Pi0FastConfig(LerobotPolicyConfig):
    """config.json of pi0-FAST.

    Attributes:
        type: kind of policy.
        max_action_tokens: maximum tokens of a chunk and its end, in training.
        text_tokenizer_name: folder of the text tokenizer.
        action_tokenizer_name: folder of the FAST tokenizer.
        temperature: temperature of sampled tokens; 0 takes the likeliest.
        max_decoding_steps: maximum tokens that the model writes; if lerobot samples, it always writes this many.
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
