"""Matches the tensors of a checkpoint with our parameters; decides, checks and reports from headers alone.

A component of the model (`vision`, `backbone`, `expert`) is loaded as a whole or initialised as a whole; a checkpoint that has
only some of its tensors is refused. The embedding may have another number of rows (padding, appended FAST ids), and the report
says how many rows are loaded.
"""

import math
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import jax
import numpy as np

from fasttok.common.console import table
from fasttok.errors import InputError
from train import model
from train.config import ModelConfig
from train.weights.layouts import (
    EXPERT_HEAD,
    LM_HEAD,
    RULES,
    Family,
    MappedTensor,
    Shape,
    canonical,
    flatten,
    mapped_tensors,
)
from train.weights.sources import FLOATS, StoredWeights, open_weights

TRAINED_ROWS = "trained_rows"
"""Key of an export's metadata, in layouts of other projects: how many rows of its embedding mean what they meant in training. The
other rows are zeros, or have moved to another place."""
EMBEDDING, POSITION = "backbone/embedding", "vision/position"
SPARE_ROWS = 64  # transformers pads PaliGemma's table from 257152 to 257216 rows
SHOWN = 4  # names in a message
FAMILY_NAMES: dict[Family, str] = {"jax": "openpi's tree", "torch": "PyTorch names", "fasttok": "our own file"}
# pi0's expert has plain norms, state_proj and action_time_mlp. Any of these names shows that an expert is pi0's, and not pi0.5's.
PI0 = ("llm/layers/pre_attention_norm_1/scale", "expert.layers.0.input_layernorm.weight", "state_proj/kernel",
       "state_proj.weight", "action_time_mlp_in/kernel", "action_time_mlp_in.weight")  # fmt: skip
PI0_WHY = "pi0's expert has plain norms, state_proj and action_time_mlp; ours is pi0.5's and has no place for them"


RowState = Literal["loaded", "initialised", "ignored", "written", "filled", "differs", "left out"]
"""What happened to some tensors: the first three are used when weights are read, the others when they are exported."""


@dataclass(frozen=True)
class ReportRow:
    """A line of a report.

    Attributes:
        state: what happened to the tensors.
        what: path or name of an array, or of several with the same beginning, or with the same name in other layers.
        tensors: number of tensors of the checkpoint.
        parameters: number of our parameters; for ignored tensors, of the checkpoint's.
        note: the reason, or details.
    """

    state: RowState
    what: str
    tensors: int
    parameters: int
    note: str = ""


@dataclass(frozen=True)
class WeightsReport:
    """What happened to a checkpoint's tensors and to the model's parameters.

    Attributes:
        title: says which checkpoint or which layout it is about.
        rows: lines of the report.
    """

    title: str
    rows: tuple[ReportRow, ...]

    def total(self, state: RowState) -> int:
        """Returns the number of parameters of the rows with one state."""
        return sum(row.parameters for row in self.rows if row.state == state)

    def show(self) -> None:
        """Prints a table."""
        table(self.title, list(asdict(self.rows[0])), [list(asdict(row).values()) for row in self.rows])


@dataclass(frozen=True)
class LoadPlan:
    """What loading a checkpoint will do; known from headers alone.

    Attributes:
        stored: the checkpoint.
        shapes: our path -> shape, of all parameters.
        matched: our path -> the tensors that the array is made of; only arrays that the checkpoint has.
        names: canonical name of a tensor -> its name in the checkpoint.
        rows: number of rows of the embedding to copy.
        report: the plan as people read it.
    """

    stored: StoredWeights
    shapes: dict[str, Shape]
    matched: dict[str, list[MappedTensor]]
    names: dict[str, str]
    rows: int
    report: WeightsReport

    @property
    def fresh(self) -> list[str]:
        """Paths that the checkpoint does not have."""
        return [path for path in self.shapes if path not in self.matched]


def our_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Returns the shape of each parameter by its path."""
    tree = jax.eval_shape(lambda key: model.init(key, config), jax.random.key(0))
    return {path: leaf.shape for path, leaf in flatten(tree).items()}


def plan(
    path: Path,
    config: ModelConfig,
    *,
    text_rows: int | None = None,
    tokenizer: str | None = None,
    strict: bool = False,
    resample: bool = False,
) -> LoadPlan:
    """Matches a checkpoint's headers with the model.

    Args:
        path: path of the checkpoint.
        config: the model's shapes, all known.
        text_rows: number of rows of our vocabulary that are text; the others (FAST ids) are new. None: all rows are text.
        tokenizer: fingerprint of our action tokenizer; FAST rows of our own files are used if their tokenizer is the same.
        strict: refuse if anything would be initialised or ignored; copies of the tied table and padding rows do not count.
        resample: allow another image size, by bilinear resampling of the position embedding.

    Raises:
        InputError: no checkpoint (see `open_weights`), missing tensors, wrong shapes, or another tokenizer's vocabulary.
    """
    stored, shapes = open_weights(path), our_shapes(config)
    names: dict[str, str] = {}
    for name in stored.headers:
        if (known := canonical(stored.family, name)) in names:
            raise InputError(f"{stored.where}: {names[known]} and {name} are the same tensor; expected one of them")
        names[known] = name
    embedding = "language.embed_tokens.weight"
    if stored.family == "torch" and embedding not in names and LM_HEAD in names:
        names[embedding] = names.pop(LM_HEAD)
    wanted: dict[str, list[MappedTensor]] = {}
    for tensor in mapped_tensors(stored.family, shapes):
        wanted.setdefault(tensor.path, []).append(tensor)
    if not any(tensor.name in names for group in wanted.values() for tensor in group):
        raise InputError(
            f"{stored.where}: none of its {len(names)} tensors has a name of PaliGemma, openpi or ours "
            f"(first: {_some(sorted(stored.headers))})"
        )
    pi0 = any(name in names for name in PI0) and config.flow
    matched: dict[str, list[MappedTensor]] = {}
    for component in dict.fromkeys(path.split("/")[0] for path in wanted):
        group = {path: tensors for path, tensors in wanted.items() if path.startswith(component + "/")}
        have = [tensor.name in names for tensors in group.values() for tensor in tensors]
        if not any(have) or (component == "expert" and pi0):
            continue
        if not all(have):
            gone = [tensor.name for tensors in group.values() for tensor in tensors if tensor.name not in names]
            raise InputError(
                f"{stored.where}: {len(gone)} of the {len(have)} tensors of {component} are missing: {_some(gone)}; expected all "
                "of them, or none to initialise it"
            )
        matched |= group
    used = [tensor for group in matched.values() for tensor in group]
    _check(stored, used, names, resample)
    ignored = sorted(set(names) - {tensor.name for tensor in used})
    _no_deeper(stored, ignored, names, shapes)
    rows = _rows(stored, shapes, names, matched, text_rows, tokenizer)
    report = _report(stored, shapes, matched, names, ignored, rows, pi0)
    if strict:
        loose = [
            r
            for r in report.rows
            if r.state == "initialised" or (r.state == "ignored" and not r.note.startswith("copy"))
        ]
        if loose:
            raise InputError(
                f"{stored.where}: strict, but not everything matches: {_some([f'{r.what} {r.state}' for r in loose])}; "
                "leave --weights-strict out to accept that"
            )
    return LoadPlan(stored, shapes, matched, names, rows, report)


def _check(stored: StoredWeights, used: list[MappedTensor], names: dict[str, str], resample: bool) -> None:
    wrong = []
    for tensor in used:
        header = stored.headers[names[tensor.name]]
        if header.dtype not in FLOATS:
            raise InputError(
                f"{stored.where}: {names[tensor.name]} is {header.dtype}, expected one of {', '.join(FLOATS)}"
            )
        fixed = slice(None)
        if tensor.path == EMBEDDING:
            fixed = slice(1, None)
        elif tensor.path == POSITION and resample:
            fixed = slice(-1, None)
        if len(header.shape) != len(tensor.shape) or header.shape[fixed] != tensor.shape[fixed]:
            wrong.append((tensor, header.shape))
    if not wrong:
        return
    lines = "; ".join(f"{names[tensor.name]} is {shape}, expected {tensor.shape}" for tensor, shape in wrong[:SHOWN])
    paths = {tensor.path for tensor, _ in wrong}
    hint = "use the checkpoint's --model sizes"
    if paths == {POSITION}:
        hint = "use its --model.image-size, or pass --weights-resample to resample the position embedding"
    elif all(path.startswith(("expert/action_in", "expert/action_out")) for path in paths):
        hint = "give the checkpoint's width as --model.action-dim; dims that an embodiment lacks are masked"
    raise InputError(f"{stored.where}: {len(wrong)} tensors have other shapes than this model: {lines}; {hint}")


def _no_deeper(stored: StoredWeights, ignored: list[str], names: dict[str, str], shapes: dict[str, Shape]) -> None:
    """Refuses a checkpoint with more layers than our model.

    Otherwise its later layers would be ignored one by one, and a shallower model would pass for the checkpoint's.
    """
    if stored.family != "torch":
        return
    depth = {name: shapes[rule.path][0] for rule in RULES["torch"] if rule.path in shapes for name in rule.names}
    for name in ignored:
        layer = re.search(r"\.(\d+)\.", name)
        if layer and int(layer[1]) >= (ours := depth.get(name.replace(layer[0], ".{}.", 1), math.inf)):
            raise InputError(
                f"{stored.where}: it has {names[name]}, this model only {ours} such layers; use the checkpoint's --model sizes"
            )


def _rows(
    stored: StoredWeights,
    shapes: dict[str, Shape],
    names: dict[str, str],
    matched: dict[str, list[MappedTensor]],
    text_rows: int | None,
    tokenizer: str | None,
) -> int:
    """Returns how many rows of the embedding to copy."""
    if EMBEDDING not in matched:
        return 0
    ours = shapes[EMBEDDING][0]
    theirs = stored.headers[names[matched[EMBEDDING][0].name]].shape[0]
    trained = stored.metadata.get(TRAINED_ROWS, "")
    theirs = min(theirs, int(trained)) if trained.isdigit() else theirs
    text = ours if text_rows is None else text_rows
    known = stored.metadata if stored.family == "fasttok" or trained else {}  # a file that we wrote
    if theirs == ours and (tokenizer is None or known.get("tokenizer", tokenizer) == tokenizer):
        return ours
    theirs = min(theirs, int(known["text_rows"])) if known.get("text_rows", "").isdigit() else theirs
    if theirs - text > SPARE_ROWS:
        raise InputError(
            f"{stored.where}: its embedding has {theirs} rows, our text tokenizer {text} tokens: not the tokenizer of these "
            "weights; pass theirs as --data.text-tokenizer"
        )
    return min(theirs, text)


def _report(
    stored: StoredWeights,
    shapes: dict[str, Shape],
    matched: dict[str, list[MappedTensor]],
    names: dict[str, str],
    ignored: list[str],
    rows: int,
    pi0: bool,
) -> WeightsReport:
    loaded: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    fresh: Counter[str] = Counter()
    for path, shape in shapes.items():
        what = "/".join(path.split("/")[:2]) if path in matched else path.split("/")[0]
        sizes[what] += int(np.prod(shape))
        if path in matched:
            loaded[what] += len(matched[path])
        else:
            fresh[what] += 1
    notes: dict[str, str] = {}
    out = []
    if EMBEDDING in matched:
        theirs = stored.headers[names[matched[EMBEDDING][0].name]].shape[0]
        total, width = shapes[EMBEDDING]
        sizes[EMBEDDING] = rows * width
        notes[EMBEDDING] = f"{rows:,} of its {theirs:,} rows" + ("; the others are padding" if theirs > rows else "")
        if total > rows:
            out = [
                ReportRow(
                    "initialised",
                    EMBEDDING,
                    0,
                    (total - rows) * width,
                    f"{total - rows:,} new rows: mean of those loaded",
                )
            ]
    if POSITION in matched and stored.headers[names[matched[POSITION][0].name]].shape != matched[POSITION][0].shape:
        shape = stored.headers[names[matched[POSITION][0].name]].shape
        notes[POSITION] = f"resampled from {shape} to {matched[POSITION][0].shape}"
    first = [ReportRow("loaded", what, loaded[what], sizes[what], notes.get(what, "")) for what in loaded]
    why = {"expert": PI0_WHY} if pi0 else {}
    out += [ReportRow("initialised", what, 0, sizes[what], why.get(what, "not in the checkpoint")) for what in fresh]
    groups: dict[tuple[str, str], list[str]] = {}
    for name in ignored:
        general = re.sub(r"(?<=\.)\d+(?=\.)", "*", name)
        groups.setdefault((general, _why_ignored(name, pi0, shapes)), []).append(name)
    for (general, note), members in groups.items():
        count = sum(int(np.prod(stored.headers[names[name]].shape)) for name in members)
        out.append(ReportRow("ignored", general, len(members), count, note))
    return WeightsReport(f"weights from {stored.where} ({FAMILY_NAMES[stored.family]})", (*first, *out))


def _why_ignored(name: str, pi0: bool, shapes: dict[str, Shape]) -> str:
    if name == LM_HEAD:
        return "copy of the embedding: our table is tied"
    if name == EXPERT_HEAD:
        return "copy or filler: nothing reads the expert's head"
    action = re.match(r"expert\.|llm/.*_1(/|$)|(action|time|state)_", name)
    if action and pi0:
        return "pi0's expert"
    if action and not any(path.startswith("expert/") for path in shapes):
        return "this model has no expert"
    return "no such parameter in our model"


def _some(names: list[str]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
