"""Turns examples into training batches. docs/design.md, "Training batch", describes their arrays."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fasttok.common.images import decoded, inner_size, opened, resized
from fasttok.errors import InputError
from train.config import ModelConfig, Resize
from train.examples import Example

NumpyBatch = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Batcher:
    """Makes batches from the examples of a run; all batches of a size have the same shapes.

    Attributes:
        model: the model's shapes, which the arrays get.
        slots: camera slots, in the order of the arrays.
        length: tokens per row, with padding.
        pad: id of the token that fills up a row.
        resize: as in `DataConfig`.
        held_steps: whether the flow also learns the steps after an episode's end, as in `DataConfig`.
    """

    model: ModelConfig
    slots: tuple[str, ...]
    length: int
    pad: int
    resize: Resize = "pad"
    held_steps: bool = False

    def __call__(self, examples: list[Example], pool: ThreadPoolExecutor | None = None) -> NumpyBatch:
        """Returns a batch.

        Args:
            examples: B examples.
            pool: its threads decode the images; None: the calling thread decodes them.

        Raises:
            InputError: a row has more tokens than `length`, or an image cannot be decoded.
        """
        b, m, length = len(examples), self.model, self.length
        out: NumpyBatch = {
            "images": np.zeros((b, len(self.slots), m.image_size, m.image_size, 3), np.uint8),
            "image_mask": np.zeros((b, len(self.slots)), bool),
            "tokens": np.full((b, length), self.pad, np.int32),
            "token_mask": np.zeros((b, length), bool),
            "token_ar": np.zeros((b, length), bool),
            "loss_mask": np.zeros((b, length), bool),
            "is_action": np.array([e.is_action for e in examples], bool),
            "located": np.array([e.located for e in examples], bool),
            "actions": np.zeros((b, m.horizon, m.action_dim), np.float32),
            "action_mask": np.zeros((b, m.horizon, m.action_dim), bool),
            "embodiment_mask": np.zeros((b, m.horizon, m.action_dim), bool),
        }
        if m.state_token:
            out["state"] = np.zeros((b, m.state_dim), np.float32)
            out["state_mask"] = np.array([len(e.state) > 0 for e in examples], bool)

        def image(at: tuple[int, str, bytes | NDArray[np.uint8]]) -> None:
            row, slot, data = at
            place = self.slots.index(slot)
            pixels = decode_image(data, m.image_size, "stretch" if examples[row].stretched else self.resize)
            out["images"][row, place] = pixels[..., ::-1] if slot in examples[row].bgr else pixels
            out["image_mask"][row, place] = True

        images = [(i, slot, data) for i, e in enumerate(examples) for slot, data in e.images.items()]
        for _ in map(image, images) if pool is None else pool.map(image, images, chunksize=8):
            pass
        for i, e in enumerate(examples):
            n, total = len(e.prefix), self.check_length(e)
            out["tokens"][i, :total] = e.prefix + e.suffix
            out["token_mask"][i, :total] = True
            out["token_ar"][i, n:total] = out["loss_mask"][i, n:total] = True
            out["embodiment_mask"][i, : e.horizon, : e.dim] = True
            if m.state_token:
                out["state"][i, : len(e.state)] = e.state
            if e.actions is not None:
                h, d = e.actions.shape
                out["actions"][i, :h, :d] = e.actions
                out["action_mask"][i, : self.learned_steps(e), :d] = True
        return out

    def learned_steps(self, example: Example) -> int:
        """Returns how many steps of an example's chunk the flow learns; 0 if it has no actions."""
        return 0 if example.actions is None else example.horizon if self.held_steps else example.steps

    def check_length(self, example: Example) -> int:
        """Returns how many tokens an example has.

        Raises:
            InputError: it has more tokens than `length`.
        """
        total = len(example.prefix) + len(example.suffix)
        if total > self.length:
            raise InputError(
                f"a row has {total} tokens, more than the {self.length} of this run; shorten its text, such as the instruction, "
                "or train with a larger --data.text-length"
            )
        return total


def decode_image(data: bytes | NDArray[np.uint8], size: int, resize: Resize = "pad") -> NDArray[np.uint8]:
    """Decodes an image and makes it square, as the model sees it.

    Args:
        data: an encoded file, or pixels (h, w, 3) uint8.
        size: pixels per side.
        resize: as in `DataConfig`.

    Returns:
        (size, size, 3) uint8.

    Raises:
        InputError: the image cannot be decoded.
    """
    try:
        image = decoded(opened(data, formats=None)) if isinstance(data, bytes) else Image.fromarray(data).convert("RGB")
    except ValueError as error:
        raise InputError(
            f"an image cannot be decoded: {error}; check the shards with: fasttok-pipelines lint"
        ) from None
    square = (size, size)
    inner = inner_size(image.size, square, resize)
    return np.asarray(resized(image, inner, "bilinear", square), np.uint8)
