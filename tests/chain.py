"""What the fixture `chain` hands out: the folders of the tabletop datasets and of the stages that ran on them."""

from dataclasses import dataclass
from pathlib import Path

MIXTURE = str(Path(__file__).with_name("mixture.yaml"))
"""What the fixture builds."""
ROBOTS = ("tabletop_planar/1.0.0", "tabletop_arm/1.0.0")
WEB = ("tabletop_vqa", "tabletop_captions")


@dataclass(frozen=True)
class Chain:
    """What the stages left: do not write into it."""

    data: Path
    index: Path
    tokenizer: Path
    shards: Path

    @property
    def datasets(self) -> tuple[str, ...]:
        """The four dataset directories."""
        return tuple(str(self.data / name) for name in (*ROBOTS, *WEB))
