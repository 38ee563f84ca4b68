"""What a robot's actions are, as far as a tokenizer needs to know."""

from dataclasses import asdict, dataclass
from typing import Any

from fasttok.errors import InputError


@dataclass(frozen=True)
class Embodiment:
    """One robot and action space.

    Attributes:
        horizon: steps of a chunk. action_dim: D. control_hz: steps a second, None where unknown.
        action_encoding: per dim "absolute", "delta" or "gripper"; () where unknown.
    """

    horizon: int
    action_dim: int
    control_hz: float | None = None
    action_encoding: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return asdict(self) | {"action_encoding": list(self.action_encoding)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Embodiment":
        """The inverse of `to_json`.

        Raises:
            InputError: a field is missing.
        """
        try:
            return cls(
                int(data["horizon"]),
                int(data["action_dim"]),
                data.get("control_hz"),
                tuple(data.get("action_encoding", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"norm_stats.json: not an embodiment entry: {error}") from None
