"""Chooses the tensors of a file and their names (`train.weights.layouts`), and reports on them."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from train.config import ModelConfig
from train.exports.export_config import ExportLayout as ExportLayout
from train.exports.tensor_file import TensorToWrite
from train.texts.text_vocabulary import PALIGEMMA
from train.weights.layouts import EXPERT_HEAD, MappedTensor, mapped_tensors, spelled
from train.weights.matching import EMBEDDING, ReportRow, WeightsReport, our_shapes

FileLayout = Literal[ExportLayout, "paligemma"]
"""Whose names a file's tensors get; "paligemma": vision and backbone under the names of transformers (for tests)."""
# The only sizes that openpi's PI0Pytorch and lerobot's PI05Policy build (gemma_2b, gemma_300m, So400m/14 at 224).
THEIR_SIZES = {
    "image_size": 224, "patch": 14, "vision_width": 1152, "vision_depth": 27, "vision_heads": 16, "vision_mlp": 4304,
    "width": 2048, "depth": 18, "heads": 8, "head_dim": 256, "mlp": 16384, "expert_width": 1024, "expert_mlp": 4096,
}  # fmt: skip
THEIR_VOCAB = PALIGEMMA


def tensors(
    flat: Mapping[str, ArrayLike], config: ModelConfig, layout: FileLayout, vocab_size: int = 0
) -> tuple[list[TensorToWrite], WeightsReport]:
    """Returns the tensors of a file of `layout`, sorted by name, and the report on them.

    Args:
        flat: our arrays by path.
        config: the model's configuration.
        layout: whose names the tensors get.
        vocab_size: rows of the embedding in the file; 0: as trained.
    """
    shapes = our_shapes(config)
    foreign = layout != "fasttok"
    mapped = mapped_tensors("torch" if foreign else "fasttok", shapes)
    if layout == "paligemma":
        mapped = [one for one in mapped if not one.path.startswith("expert/")]
    rows = vocab_size or shapes[EMBEDDING][0]

    def tensor(one: MappedTensor) -> TensorToWrite:
        name = spelled(layout, one.name) if foreign else one.name
        if one.path == EMBEDDING:
            shape = (rows, *one.shape[1:])
            return TensorToWrite(name, shape, lambda: _resized(np.asarray(flat[one.path]), rows))
        return TensorToWrite(name, one.shape, lambda: one.to_theirs(np.asarray(flat[one.path])))

    listed = [tensor(one) for one in mapped]
    report = []
    for what in dict.fromkeys("/".join(one.path.split("/")[:2]) for one in mapped):
        group = [t for t, one in zip(listed, mapped, strict=True) if f"{one.path}/".startswith(what + "/")]
        ours = shapes[EMBEDDING][0]
        note = (
            ""
            if what != EMBEDDING or rows == ours
            else f"{ours:,} rows {'cut' if rows < ours else 'filled with zeros'} to {rows:,}"
        )
        report.append(ReportRow("written", what, len(group), sum(math.prod(t.shape) for t in group), note))
    if layout in ("openpi", "lerobot"):
        head = (rows, config.expert_width)
        listed.append(TensorToWrite(spelled(layout, EXPERT_HEAD), head, lambda: np.zeros(head, np.float32)))
        report.append(
            ReportRow("filled", listed[-1].name, 1, math.prod(head), "zeros: their class has it, nothing reads it")
        )
        report += [ReportRow("differs", what, 0, 0, note) for what, note in differences(config, rows).items()]
    placed = {one.path for one in mapped}
    report += [
        ReportRow("left out", p, 1, math.prod(shape), "no place in this layout")
        for p, shape in shapes.items()
        if p not in placed
    ]
    return sorted(listed, key=lambda t: t.name), WeightsReport(f"weights as {layout}", tuple(report))


def _resized(table: NDArray[Any], rows: int) -> NDArray[Any]:
    return table[:rows] if rows <= len(table) else np.pad(table, ((0, rows - len(table)), (0, 0)))


def differences(config: ModelConfig, rows: int) -> dict[str, str]:
    """Returns the sizes of this model that the classes of openpi and lerobot do not build: name of the size -> explanation.

    Args:
        config: the model's configuration.
        rows: rows of the embedding in the file.
    """
    out = {
        name: f"{getattr(config, name)}, their classes build {theirs}"
        for name, theirs in THEIR_SIZES.items()
        if getattr(config, name) != theirs
    }
    if rows != THEIR_VOCAB:
        out["vocabulary"] = f"{rows:,} rows, their classes build {THEIR_VOCAB:,}; see --vocab-size"
    return out
