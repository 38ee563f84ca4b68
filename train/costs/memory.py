"""Computes how much memory a step needs on a device: what is held between steps, exactly, and an estimate of temporary memory.

Held between steps: 4 bytes per parameter, and for what learns 8 more for AdamW's moments and 4 for a moving average. Temporary:
the gradient of what learns, logits, and what the backward pass keeps of each row. The last depends on `ModelConfig.remat`:

    layer  the stream between layers, and everything of the one layer that is being computed again
    dots   also the results of matrix products without a batch axis (query, key, value, output, gate, up, down)
    none   also what is between these products: norms, rotated queries, attention's logits and weights, the gated product

The number of arrays between the products was counted once in what XLA compiles at `--size small`. docs/train.md says how good the
estimate is; `python -m train.costs.memory` prints that page's table.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax

from train import model, optim
from train.config import LoraConfig, ModelConfig, OptimConfig, Remat, TrainConfig
from train.learning import lora
from train.losses import LOGITS_AT_ONCE, POSITIONS_AT_ONCE
from train.params import Params, components, count
from train.presets import get_preset

GIB = 1 << 30
NO_AVERAGE = "--optim.ema None"
USABLE = 0.92
"""Share of a device's memory that a step can have. The driver and libraries use the rest, or it is lost between buffers."""
CARDS = (24, 48, 80, 141)
"""Memory of the usual devices in GB: RTX 4090 and A10; L40S; A100 and H100; H200."""
REMATS: tuple[Remat, ...] = ("none", "dots", "layer")
MOST_ROWS = 4096


@dataclass(frozen=True)
class StepMemory:
    """Bytes on one device.

    Attributes:
        held: parameters, moments and moving average, which stay between steps.
        fixed: gradients, and other temporary memory that does not grow with the batch.
        row: temporary memory for each row of a microbatch.
    """

    held: float
    fixed: float
    row: float

    def total(self, rows: int) -> float:
        """Returns all bytes for a microbatch of `rows` rows."""
        return self.held + self.fixed + self.row * rows

    def rows(self, size: float) -> int:
        """Returns how many rows of a microbatch fit into `size` bytes, at most MOST_ROWS; 0 if not even one does."""
        return max(0, min(MOST_ROWS, int((size - self.held - self.fixed) // self.row)))

    def scaled(self, ratio: float) -> "StepMemory":
        """Multiplies the temporary memory by `ratio`. What is held is known exactly, and stays."""
        return replace(self, fixed=self.fixed * ratio, row=self.row * ratio)


class Stack(NamedTuple):
    """Bytes of one row in one layer of a stack.

    Attributes:
        depth: layers.
        stream: what goes from layer to layer.
        dots: results of matrix products without a batch axis.
        everything: everything that the backward pass may use.
    """

    depth: int
    stream: float
    dots: float
    everything: float

    def kept(self, remat: Remat) -> float:
        """Returns the bytes that the backward pass keeps of all layers."""
        kept = {"layer": self.stream, "dots": self.stream + self.dots, "none": max(self.everything, self.dots)}
        return self.depth * kept[remat]


def estimate(config: TrainConfig, shapes: ModelConfig, text: int, fsdp: int = 1) -> StepMemory:
    """Estimates the memory of a step without compiling it.

    Args:
        config: says what learns, whether there is a moving average, how many microbatches and how many flow times.
        shapes: the model's shapes; none is left to the shards.
        text: text tokens of a row.
        fsdp: devices that share parameters, moments and gradients.
    """
    params = abstract_params(shapes, config.lora)
    learn = optim.split(params, config.still)[0]
    held = (4 * count(params) + (12 if config.optim.ema else 8) * count(learn)) / fsdp
    copies = (
        1.3 if config.accumulate == 1 else 2.3
    )  # copies of the gradient: clipped ones while AdamW reads them, and sums over microbatches
    table = 0 if shapes.dtype == "float32" else 2 * shapes.vocab_size * shapes.width  # copy in the dtype of products
    logits = 12 * min(LOGITS_AT_ONCE, POSITIONS_AT_ONCE * shapes.vocab_size)
    fixed = 4 * copies * count(learn) / fsdp + table + logits
    return StepMemory(held, fixed, _row(config, shapes, text, set(components(learn)), "action" in params))


def abstract_params(shapes: ModelConfig, adapted: LoraConfig) -> Params:
    """Returns the shapes of the parameters, with adapters."""

    def init(key: jax.Array) -> Params:
        return lora.add(model.init(key, shapes), adapted, key)

    found: Params = jax.eval_shape(init, jax.random.key(0))
    return found


def _row(config: TrainConfig, c: ModelConfig, text: int, learn: set[str], by_backbone: bool) -> float:
    """Returns the bytes of one row: what is kept of the stacks that a gradient goes through, and the one layer being computed.

    `by_backbone`: whether the recipe makes actions in the backbone's own layers.
    """
    size = 4 if c.dtype == "float32" else 2
    seen = c.cameras * c.image_tokens + text + (c.state_token == "backbone")
    acting = c.horizon + (c.state_token == "expert")
    inner = c.heads * c.head_dim

    def stack(depth: int, tokens: int, keys: int, width: int, mlp: int, vision: bool = False) -> Stack:
        heads, inside, shared = (c.vision_heads, width, width) if vision else (c.heads, inner, c.head_dim)
        products = inside + 2 * shared + 2 * width + (1 if vision else 2) * mlp
        attention = 0 if c.attention == "cudnn" and not vision else heads * tokens * keys * (12 + size)
        everything = tokens * size * (7 * width + 2 * inside + (5 if vision else 8) * mlp) + attention
        return Stack(depth, tokens * width * size, tokens * size * products, everything)

    per_image = stack(c.vision_depth, c.image_tokens, c.image_tokens, c.vision_width, c.vision_mlp, vision=True)
    vision = Stack(per_image.depth, *(c.cameras * x for x in per_image[1:]))
    backbone = stack(c.depth, seen, seen, c.width, c.mlp)
    width, mlp = (c.width, c.mlp) if by_backbone else (c.expert_width, c.expert_mlp)
    one_draw = stack(c.depth, acting, seen + acting, width, mlp)
    expert = Stack(one_draw.depth, *(config.flow_draws * x for x in one_draw[1:]))
    backward = {vision: "vision" in learn, backbone: bool(learn & {"vision", "backbone"}), expert: c.flow}
    kept = sum(stack.kept(c.remat) for stack, needed in backward.items() if needed)
    work = max((stack.everything for stack, needed in backward.items() if needed), default=0.0)
    idle = max((stack.everything / 2 for stack, needed in backward.items() if not needed), default=0.0)
    images = 2 * 4 * c.cameras * 3 * c.image_size**2
    context = c.depth * seen * 2 * c.head_dim * size + seen * c.width * size
    return kept + images + context + (max(work, idle) if c.remat != "none" else idle)


def ways(config: TrainConfig, shapes: ModelConfig) -> Iterator[tuple[str, TrainConfig]]:
    """Yields choices of what learns, from most to least memory, each as the flags that make it. The run's other settings stay.

    All but the first keep no moving average; the flag says so, because the full size keeps one by default.
    """
    plain = replace(config, lora=LoraConfig(), optim=OptimConfig())
    adapted = replace(plain, lora=LoraConfig(rank=16))
    yield "all, --optim.ema 0.999", replace(plain, optim=OptimConfig(ema=0.999))
    yield f"all, {NO_AVERAGE}", plain
    yield f"--lora.rank 16 {NO_AVERAGE}", adapted
    yield (
        f"--lora.rank 16 --optim.freeze vision backbone/embedding {NO_AVERAGE}",
        replace(adapted, optim=OptimConfig(freeze=("vision", "backbone/embedding"))),
    )
    if shapes.flow:
        yield (
            f"--optim.freeze vision backbone {NO_AVERAGE}",
            replace(plain, optim=OptimConfig(freeze=("vision", "backbone"))),
        )


def what_fits(
    config: TrainConfig, shapes: ModelConfig, text: int, fsdp: int = 1, ratio: float = 1.0
) -> list[list[str | int]]:
    """Returns, for each choice of what learns and each `remat`, the held GiB, and how many rows fit on each of `CARDS`.

    Args:
        config: as in `estimate`.
        shapes: the model's shapes.
        text: text tokens of a row.
        fsdp: devices that share parameters, moments and gradients.
        ratio: temporary memory of the compiled step, divided by its estimate.
    """
    rows: list[list[str | int]] = []
    for name, way in ways(config, shapes):
        for remat in REMATS:
            found = estimate(way, replace(shapes, remat=remat), text, fsdp).scaled(ratio)
            fits = [found.rows(card * GIB * USABLE) for card in CARDS]
            rows.append([name, remat, f"{found.held / GIB:.1f}", *(n or "-" for n in fits)])
    return rows


def page() -> str:
    """Returns the table of docs/train.md, for the full model as `benchmarks/train_step.py` measures it."""
    config = get_preset("ki", "paligemma_3b_300m")
    shapes = replace(config.model, cameras=3, horizon=50, action_dim=32, vocab_size=257_152)
    rows = what_fits(replace(config, model=shapes), shapes, 200)
    lines: list[list[str | int]] = [
        ["what learns", "remat", "held GiB", *(f"{card} GB" for card in CARDS)],
        ["---"] * 7,
    ]
    lines += [["{}`{}{}`".format(*str(way).partition("--")), *rest] for way, *rest in rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    print(page(), end="")
