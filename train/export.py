"""Exports the weights of a run: fasttok-export --run RUN --out DIR --layout fasttok|openpi|lerobot.

Layouts (each is a module of `train.exports`; docs/export.md):
    fasttok  our arrays under their paths, with the model's configuration and the tokenizer's fingerprint as metadata
    openpi   what openpi's PI0Pytorch reads (pi0.5)
    lerobot  what lerobot's PI05Policy reads; if the run only predicts FAST tokens, what its PI0FastPolicy reads
Tensors are written one by one, so an export needs memory for the parameters and one more tensor.
"""

import json
import os
import shutil
from collections.abc import Mapping

from fasttok.common import json_files
from fasttok.common.console import emit_json, log, progress
from fasttok.common.next_command import beside, command
from fasttok.common.output_folder import Mark, OutputKind, check_output
from fasttok.storage.folder import SUBFOLDER
from fasttok.tokenizer import ActionTokenizer
from train.acting.robots import acting_notes
from train.exports import lerobot, openpi, ours, pi0_fast
from train.exports.export_config import ExportConfig
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
    "EXPORT", "LAYOUTS", "ExportConfig", "ExportDtype", "ExportLayout", "TensorToWrite", "export", "export_and_report",
    "metadata", "tensors", "write",
]  # fmt: skip

CONFIG = "config.json"
OURS = "fasttok.json"
"""File that says where the weights come from, in layouts of other projects: their config.json takes no keys of ours."""
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


def export(config: ExportConfig) -> WeightsReport:
    """Writes the export to a temporary folder, and then renames that folder to DIR.

    Raises:
        InputError: there is no run or no checkpoint, DIR may not be replaced, or the layout cannot hold the model.
    """
    from train.runs.checkpoint import load_params  # imports orbax: after the errors of the command line

    source = _source(config)
    layout = LAYOUTS[config.layout]
    if config.layout == "lerobot" and pi0_fast.is_pi0_fast(source):
        layout = pi0_fast.LAYOUT
    layout.check(source)
    out = check_output(config.out, EXPORT, overwrite=config.overwrite, reads=[config.run])
    for note in acting_notes(source.robots) if source.robots is not None else ():
        log(note)
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
        # Saves what was read instead of copying files: somebody else's RUN may contain other files, too.
        source.text.save(aside / TEXT_TOKENIZER)
        source.tok.save(aside / TOKENIZER)
        out.install(aside, last=CONFIG)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    if beside.hint:
        log(beside.hint)
    return report


def _note(layout: ExportLayout, described: Mapping[str, Json], beside: LayoutFiles) -> dict[str, bytes]:
    """Returns the name and the content of the file that says where the weights come from."""
    if layout == "fasttok":
        return {CONFIG: _json({"fasttok": described})}
    return {OURS: _json({**described, "layout": layout, "cannot_hold": beside.limits})}


def _json(said: Json) -> bytes:
    return (json.dumps(said, indent=2) + "\n").encode()


def _source(config: ExportConfig) -> ExportSource:
    """Returns what is exported, without the parameters."""
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


def export_and_report(config: ExportConfig) -> None:
    """Exports, and prints what was written and how to read it back.

    Raises:
        InputError: as in `export`.
    """
    report = export(config)
    if config.json:
        emit_json(json_files.encode(report))
    else:
        report.show()
    shards, run = config.shards or load_config(config.run).shards, beside(config.out, "run")
    again = command("fasttok-train", "--weights", config.out, "--shards", shards, "--out", run)
    log(f"wrote {config.out / SINGLE}; read it back with: {again}")
