"""Weights out: fasttok-export --run RUN --out DIR --layout fasttok|openpi|lerobot.

Layouts (names: `train.weights.layouts`):
    fasttok  our arrays under their paths, with the model's configuration and the tokenizer's fingerprint as metadata
    openpi   what openpi's PI0Pytorch saves (pi0.5)
    lerobot  the same under lerobot's prefix "model."
Tensors are written one by one, so that memory stays at the parameters plus one tensor.
"""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypedDict

import ml_dtypes
import numpy as np
import tyro
from numpy.typing import ArrayLike, NDArray

from fasttok.common import json_files
from fasttok.common.console import emit_json, log, progress
from fasttok.common.output_folder import Mark, OutputKind, check_output
from fasttok.common.start import start
from fasttok.errors import InputError
from fasttok.storage.folder import SUBFOLDER
from fasttok.tokenizer import ActionTokenizer
from train.config import ModelConfig
from train.devices.jax_setup import set_up_jax
from train.runs.run_folder import TEXT_TOKENIZER, TOKENIZER, load_config
from train.tokens import TextTokenizer
from train.weights.layouts import EXPERT_HEAD, MappedTensor, Shape, flatten, mapped_tensors, spelled
from train.weights.matching import EMBEDDING, ReportRow, WeightsReport, our_shapes
from train.weights.sources import SINGLE

EXPORT = OutputKind(
    "export",
    marks=(Mark("config.json", ("fasttok/model", "fasttok/step")),),
    files=("config.json", SINGLE, TEXT_TOKENIZER, f"{TOKENIZER}/*", f"{TOKENIZER}/{SUBFOLDER}/*"),
)
ExportLayout = Literal["fasttok", "openpi", "lerobot"]
"""Whose names the tensors get: ours, openpi's PyTorch pi0.5, or lerobot's pi0.5."""
FileLayout = Literal[ExportLayout, "paligemma"]
"""Names of a file's tensors; "paligemma": vision and backbone, as transformers has them (for tests)."""
ExportDtype = Literal["float32", "bfloat16"]
"""Stored dtype."""
DTYPES: dict[ExportDtype, tuple[str, np.dtype[Any]]] = {
    "float32": ("F32", np.dtype(np.float32)),
    "bfloat16": ("BF16", np.dtype(ml_dtypes.bfloat16)),
}
# The only sizes that openpi's PI0Pytorch and lerobot's PI05Policy build (gemma_2b, gemma_300m, So400m/14 at 224).
THEIR_SIZES = {
    "image_size": 224, "patch": 14, "vision_width": 1152, "vision_depth": 27, "vision_heads": 16, "vision_mlp": 4304,
    "width": 2048, "depth": 18, "heads": 8, "head_dim": 256, "mlp": 16384, "expert_width": 1024, "expert_mlp": 4096,
}  # fmt: skip
THEIR_VOCAB = 257_152


@dataclass(frozen=True)
class ExportConfig:
    """Writes a run's weights as safetensors.

    Example: fasttok-export --run RUN --out DIR --layout lerobot
    """

    run: Path
    """Folder of `fasttok-train`."""
    out: Path
    """Folder to write: model.safetensors, config.json, and the run's tokenizers."""
    layout: ExportLayout = "fasttok"
    """Names of the tensors: ours, openpi's PyTorch pi0.5, or lerobot's pi0.5."""
    dtype: ExportDtype = "float32"
    """Stored dtype; float32 loses nothing."""
    vocab_size: int = 0
    """Rows of the embedding in the file, cut or filled with zeros; 0: as trained. openpi and lerobot build 257152."""
    checkpoint: int | Literal["best"] | None = None
    """Step of the checkpoint to export, or best: the one that `fasttok-train --keep-best` kept; the newest by default."""
    overwrite: bool = False
    """Replace an export in OUT."""
    json: bool = False
    """Report as JSON on stdout."""


@dataclass(frozen=True)
class TensorToWrite:
    """A tensor of the file.

    Attributes:
        name: in the file.
        shape: of the tensor.
        make: gives its values, any dtype; called when its turn comes.
    """

    name: str
    shape: Shape
    make: Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class ExportedRun:
    """Where the weights come from: the key "fasttok" of config.json, and metadata of the safetensors file.

    Attributes:
        model: shapes of the model.
        tokenizer: fingerprint of the action tokenizer; FAST rows of the embedding mean its ids.
        text_rows: rows of the embedding that are text.
        step: of the checkpoint.
        run: name of the run's folder.
    """

    model: ModelConfig
    tokenizer: str
    text_rows: int
    step: int
    run: str


@dataclass(frozen=True)
class OpenpiConfig:
    """config.json as openpi's converter writes it.

    Attributes:
        action_dim: dimensions of an action.
        action_horizon: steps of a chunk.
        paligemma_variant: size of the backbone.
        action_expert_variant: size of the expert.
        precision: dtype of the weights.
    """

    action_dim: int
    action_horizon: int
    paligemma_variant: str
    action_expert_variant: str
    precision: ExportDtype


@dataclass(frozen=True)
class LerobotConfig:
    """config.json as lerobot's pi0.5 writes it, but for the fields that weights do not depend on.

    Attributes:
        type: of the policy.
        chunk_size: steps of a chunk.
        n_action_steps: steps of a chunk that are carried out.
        max_action_dim: dimensions of an action.
        paligemma_variant: size of the backbone.
        action_expert_variant: size of the expert.
        image_resolution: height and width in pixels.
        dtype: of the weights.
    """

    type: str
    chunk_size: int
    n_action_steps: int
    max_action_dim: int
    paligemma_variant: str
    action_expert_variant: str
    image_resolution: tuple[int, int]
    dtype: ExportDtype


class TensorEntry(TypedDict):
    """A tensor in the header of a safetensors file.

    Attributes:
        dtype: as safetensors spells it.
        shape: of the tensor.
        data_offsets: first byte, and the one after the last, from the end of the header.
    """

    dtype: str
    shape: list[int]
    data_offsets: list[int]


def export(config: ExportConfig) -> WeightsReport:
    """Writes DIR aside and renames it.

    Raises:
        InputError: no run or no checkpoint, DIR is in the way, or the layout cannot hold the model.
    """
    from train.recipe import recipe_of
    from train.runs.checkpoint import load_params  # after the command line's errors

    model_config = load_config(config.run).model
    if config.layout != "fasttok" and not model_config.flow:
        raise InputError(
            f"{config.run} has no action expert (flow off), which {config.layout} needs; use --layout fasttok"
        )
    if config.layout != "fasttok" and not recipe_of(model_config).pi05:
        raise InputError(
            f"{config.run} was trained with recipe {model_config.recipe}, which {config.layout} does not run: it computes pi0.5; "
            "use --layout fasttok"
        )
    out = check_output(config.out, EXPORT, overwrite=config.overwrite, reads=[config.run])
    _, params, step = load_params(config.run, config.checkpoint)
    text, tok = TextTokenizer.load(config.run / TEXT_TOKENIZER), ActionTokenizer.load(config.run / TOKENIZER)
    described = json_files.encode(
        ExportedRun(model_config, tok.fingerprint, text.size, step, config.run.resolve().name)
    )
    listed, report = tensors(flatten(params), model_config, config.layout, config.vocab_size)
    aside = out.aside()
    try:
        with (aside / SINGLE).open("wb") as stream, progress("writing weights", len(listed), "tensors") as advance:
            write(stream, listed, config.dtype, metadata(config.layout, described), advance)
            stream.flush()
            os.fsync(stream.fileno())
        theirs = json_files.encode(their_config(model_config, config.layout, config.dtype) or {})
        (aside / "config.json").write_text(
            json.dumps(theirs | {"fasttok": described}, indent=2) + "\n", encoding="utf-8"
        )
        # What was read is written: a copy would take along whatever else lies in a foreign RUN.
        text.save(aside / TEXT_TOKENIZER)
        tok.save(aside / TOKENIZER)
        out.install(aside, last="config.json")
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return report


def tensors(
    flat: Mapping[str, ArrayLike], config: ModelConfig, layout: FileLayout, vocab_size: int = 0
) -> tuple[list[TensorToWrite], WeightsReport]:
    """What a file of `layout` holds, by name, and the report on it.

    Args:
        flat: our arrays by path.
        config: of the model.
        layout: names of the tensors.
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
        report += [ReportRow("differs", what, 0, 0, note) for what, note in _differences(config, rows)]
    placed = {one.path for one in mapped}
    report += [
        ReportRow("left out", p, 1, math.prod(shape), "no place in this layout")
        for p, shape in shapes.items()
        if p not in placed
    ]
    return sorted(listed, key=lambda t: t.name), WeightsReport(f"weights as {layout}", tuple(report))


def _resized(table: NDArray[Any], rows: int) -> NDArray[Any]:
    return table[:rows] if rows <= len(table) else np.pad(table, ((0, rows - len(table)), (0, 0)))


def _differences(config: ModelConfig, rows: int) -> list[tuple[str, str]]:
    """What their classes would not build as this model is."""
    out = [
        (name, f"{getattr(config, name)}, their classes build {theirs}")
        for name, theirs in THEIR_SIZES.items()
        if getattr(config, name) != theirs
    ]
    if rows != THEIR_VOCAB:
        out.append(("vocabulary", f"{rows:,} rows, their classes build {THEIR_VOCAB:,}; see --vocab-size"))
    out.append(
        ("normalisation", "theirs lies beside the weights in their own files: take it from tokenizer/norm_stats.json")
    )
    return out


def their_config(model: ModelConfig, layout: ExportLayout, dtype: ExportDtype) -> OpenpiConfig | LerobotConfig | None:
    """config.json of another project: the fields that weights depend on. None for our own layout."""
    backbone, expert = "gemma_2b", "gemma_300m"
    if layout == "openpi":
        return OpenpiConfig(model.action_dim, model.horizon, backbone, expert, dtype)
    if layout == "lerobot":
        size = (model.image_size, model.image_size)
        return LerobotConfig("pi05", model.horizon, model.horizon, model.action_dim, backbone, expert, size, dtype)
    return None


def metadata(layout: FileLayout, described: Mapping[str, Any]) -> dict[str, str]:
    """Metadata of a safetensors file, which are strings: `described`, and `format`, ours or "pt" as PyTorch's readers expect."""
    plain = {key: value if isinstance(value, str) else json.dumps(value) for key, value in described.items()}
    return {**plain, "format": "fasttok" if layout == "fasttok" else "pt"}


def write(
    stream: BinaryIO,
    listed: Iterable[TensorToWrite],
    dtype: ExportDtype,
    meta: dict[str, str],
    advance: Callable[..., None] = lambda: None,
) -> None:
    """A safetensors file (github.com/huggingface/safetensors, "Format"), a tensor at a time.

    The library's own writer takes all tensors at once, which for another layout is a second copy of the model.
    """
    code, numpy_dtype = DTYPES[dtype]
    listed = list(listed)
    header: dict[str, dict[str, str] | TensorEntry] = {"__metadata__": dict(sorted(meta.items()))}
    end = 0
    for tensor in listed:
        start, end = end, end + math.prod(tensor.shape) * numpy_dtype.itemsize
        header[tensor.name] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    stream.write(len(text).to_bytes(8, "little") + text)
    for tensor in listed:
        array = np.ascontiguousarray(tensor.make(), numpy_dtype)
        assert array.shape == tensor.shape, tensor.name
        stream.write(array.reshape(-1).view(np.uint8).data)
        advance()


def main(argv: list[str]) -> None:
    """Exports and reports."""
    config = tyro.cli(ExportConfig, args=argv, prog="fasttok-export", description=ExportConfig.__doc__)
    set_up_jax()
    report = export(config)
    if config.json:
        emit_json(json_files.encode(report))
    else:
        report.show()
    log(
        f"wrote {config.out / SINGLE}; read it back with: fasttok-train --weights {config.out} --shards SHARDS --out RUN"
    )


def script() -> None:
    """The console script."""
    start("fasttok-export", "train.export")


if __name__ == "__main__":
    script()
