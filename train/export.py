"""Weights out: fasttok-export --run RUN --out DIR --layout fasttok|openpi|lerobot.

Layouts (a module of `train.exports` each; docs/export.md):
    fasttok  our arrays under their paths, with the model's configuration and the tokenizer's fingerprint as metadata
    openpi   what openpi's PI0Pytorch reads (pi0.5)
    lerobot  what lerobot's PI05Policy reads; of a run that only writes FAST tokens, what its PI0FastPolicy does
Tensors are written one by one, so that memory stays at the parameters plus one tensor.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from fasttok.common import json_files
from fasttok.common.console import emit_json, log, progress
from fasttok.common.output_folder import Mark, OutputKind, check_output
from fasttok.common.start import start
from fasttok.errors import InputError
from fasttok.storage.folder import SUBFOLDER
from fasttok.tokenizer import ActionTokenizer
from train.devices.jax_setup import set_up_jax
from train.exports import lerobot, openpi, ours, pi0_fast
from train.exports.layout import Json, Layout, LayoutFiles
from train.exports.lerobot_processors import POST, PRE
from train.exports.openpi import ASSETS
from train.exports.source import ExportedRun, ExportSource
from train.exports.tensor_file import ExportDtype, TensorToWrite, metadata, write
from train.exports.tensors import ExportLayout, tensors
from train.exports.transformers_tokenizer import TOKENIZER_FOLDER
from train.runs.run_folder import TEXT_TOKENIZER, TOKENIZER, load_config, load_robots
from train.tokens import TextTokenizer
from train.weights.layouts import flatten
from train.weights.matching import TRAINED_ROWS, WeightsReport
from train.weights.sources import SINGLE

__all__ = [
    "EXPORT", "LAYOUTS", "ExportConfig", "ExportDtype", "ExportLayout", "TensorToWrite", "export", "main", "metadata", "script",
    "tensors", "write",
]  # fmt: skip

CONFIG = "config.json"
OURS = "fasttok.json"
"""Where the weights come from, in a layout of others, whose config.json takes no key of ours."""
EXPORT = OutputKind(
    "export",
    marks=(Mark(CONFIG, ("fasttok/model", "fasttok/step")), Mark(OURS, ("model", "step"))),
    files=(
        CONFIG,
        OURS,
        SINGLE,
        TEXT_TOKENIZER,
        f"{TOKENIZER}/*",
        f"{TOKENIZER}/{SUBFOLDER}/*",
        f"{TOKENIZER_FOLDER}/*",
        f"{pi0_fast.ACTION_FOLDER}/*",
        f"{pi0_fast.ACTION_FOLDER}/{SUBFOLDER}/*",
        *(f"{name}{ending}" for name in (PRE, POST) for ending in (".json", "_step_*.safetensors")),
        f"{ASSETS}/*/norm_stats.json",
    ),
)
LAYOUTS: dict[ExportLayout, Layout] = {"fasttok": ours.LAYOUT, "openpi": openpi.LAYOUT, "lerobot": lerobot.LAYOUT}


@dataclass(frozen=True)
class ExportConfig:
    """Writes a run's weights as safetensors, with all that the layout's project needs to run the policy.

    Example: fasttok-export --run RUN --out DIR --layout lerobot
    """

    run: Path
    """Folder of `fasttok-train`."""
    out: Path
    """Folder to write: model.safetensors, config.json, the run's tokenizers, and what else the layout has."""
    layout: ExportLayout = "fasttok"
    """Names of the tensors: ours, openpi's PyTorch pi0.5, or lerobot's pi0.5; of a run of preset pi0_fast, lerobot's pi0-FAST."""
    dtype: ExportDtype = "float32"
    """Stored dtype; float32 loses nothing."""
    vocab_size: int = 0
    """Rows of the embedding in the file, cut or filled with zeros; 0: as trained, and the 257152 that openpi and lerobot build in
    their layouts."""
    checkpoint: int | Literal["best"] | None = None
    """Step of the checkpoint to export, or best: the one that `fasttok-train --keep-best` kept; the newest by default."""
    overwrite: bool = False
    """Replace an export in OUT."""
    json: bool = False
    """Report as JSON on stdout."""
    embodiment: str = ""
    """The robot to export for, in a layout that holds one; only needed if the run was trained on several."""
    shards: Path | None = None
    """Shards that the run was trained on; only needed for runs without robots.json whose shards have moved."""

    def __post_init__(self) -> None:
        if self.vocab_size < 0:
            raise InputError(
                f"--vocab-size is {self.vocab_size}, expected a number of rows, or 0 for those of the layout"
            )
        if self.embodiment and self.layout == "fasttok":
            raise InputError(
                f"--embodiment {self.embodiment} says nothing to --layout fasttok, which holds all robots of a run; leave it out"
            )


def export(config: ExportConfig) -> WeightsReport:
    """Writes DIR aside and renames it.

    Raises:
        InputError: no run or no checkpoint, DIR is in the way, or the layout cannot hold the model.
    """
    from train.runs.checkpoint import load_params  # after the command line's errors

    source = _source(config)
    layout = LAYOUTS[config.layout]
    if config.layout == "lerobot" and pi0_fast.is_pi0_fast(source):
        layout = pi0_fast.LAYOUT
    layout.check(source)
    out = check_output(config.out, EXPORT, overwrite=config.overwrite, reads=[config.run])
    beside = layout.files(source)
    if beside.limits:
        log(f"what --layout {config.layout} cannot hold of {config.run}:")
    for limit in beside.limits:
        log(f"  - {limit}")
    _, params, step = load_params(config.run, config.checkpoint)
    described = json_files.encode(
        ExportedRun(source.config.model, source.tok.fingerprint, source.text.size, step, config.run.resolve().name)
    )
    listed, report = layout.tensors(flatten(params), source)
    aside = out.aside()
    try:
        with (aside / SINGLE).open("wb") as stream, progress("writing weights", len(listed), "tensors") as advance:
            more = {} if config.layout == "fasttok" else {TRAINED_ROWS: layout.trained_rows(source)}
            write(stream, listed, config.dtype, metadata(config.layout, {**described, **more}), advance)
            stream.flush()
            os.fsync(stream.fileno())
        for path, content in {**beside.files, **_note(config.layout, described, beside)}.items():
            (aside / path).parent.mkdir(parents=True, exist_ok=True)
            (aside / path).write_bytes(content)
        # What was read is written: a copy would take along whatever else lies in a foreign RUN.
        source.text.save(aside / TEXT_TOKENIZER)
        source.tok.save(aside / TOKENIZER)
        out.install(aside, last=CONFIG)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    if beside.hint:
        log(beside.hint)
    return report


def _note(layout: ExportLayout, described: Mapping[str, Json], beside: LayoutFiles) -> dict[str, bytes]:
    """The file that says where the weights come from, by its name."""
    if layout == "fasttok":
        return {CONFIG: _json({"fasttok": described})}
    return {OURS: _json({**described, "layout": layout, "cannot_hold": beside.limits})}


def _json(said: Json) -> bytes:
    return (json.dumps(said, indent=2) + "\n").encode()


def _source(config: ExportConfig) -> ExportSource:
    """What is exported, but for the parameters."""
    trained = load_config(config.run)
    return ExportSource(
        str(config.run),
        trained,
        TextTokenizer.load(config.run / TEXT_TOKENIZER),
        ActionTokenizer.load(config.run / TOKENIZER),
        load_robots(config.run, trained, config.shards) if config.layout != "fasttok" else None,
        config.embodiment,
        config.dtype,
        config.vocab_size,
        str(config.out.resolve()),
    )


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
