"""Which tensor of a checkpoint is which of our parameters: decided, checked and reported from headers alone.

A part of the model (`vision`, `backbone`, `expert`) comes whole from the checkpoint or is initialised whole; half a part is
refused. The embedding may have other rows (padding, FAST ids appended), and the report says which.
"""

import math
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fasttok.common.console import table
from fasttok.errors import InputError
from train import model
from train.config import ModelConfig
from train.weights.layouts import EXPERT_HEAD, LM_HEAD, RULES, Piece, canonical, flatten, pieces
from train.weights.sources import FLOATS, Source, open_source

EMBEDDING, POSITION = "backbone/embedding", "vision/position"
SPARE_ROWS = 64  # transformers pads PaliGemma's table from 257152 to 257216 rows
SHOWN = 4  # names in a message
KINDS = {"jax": "openpi's tree", "torch": "PyTorch names", "fasttok": "our own file"}
# pi0's expert: plain norms and state and time as inputs of an MLP. Any of these names tells it from pi0.5's.
PI0 = ("llm/layers/pre_attention_norm_1/scale", "expert.layers.0.input_layernorm.weight", "state_proj/kernel",
       "state_proj.weight", "action_time_mlp_in/kernel", "action_time_mlp_in.weight")  # fmt: skip
PI0_WHY = "pi0's expert has plain norms, state_proj and action_time_mlp; ours is pi0.5's and has no place for them"


@dataclass(frozen=True)
class Row:
    """A line of a report: `parameters` are ours, except in what is ignored."""

    state: str
    what: str
    tensors: int
    parameters: int
    note: str = ""


@dataclass(frozen=True)
class Report:
    """What became of a checkpoint's tensors and of the model's parameters."""

    title: str
    rows: tuple[Row, ...]

    def total(self, state: str) -> int:
        """Parameters of the rows in one state."""
        return sum(row.parameters for row in self.rows if row.state == state)

    def show(self) -> None:
        """Prints a table."""
        table(self.title, list(asdict(self.rows[0])), [list(asdict(row).values()) for row in self.rows])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """What a load will do, from headers alone.

    Attributes:
        found: our path -> its pieces. names: canonical name -> the source's. rows: of the embedding to copy.
    """

    source: Source
    shapes: dict[str, tuple[int, ...]]
    found: dict[str, list[Piece]]
    names: dict[str, str]
    rows: int
    report: Report

    @property
    def fresh(self) -> list[str]:
        """Paths that the checkpoint does not have."""
        return [path for path in self.shapes if path not in self.found]


def our_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter by its path."""
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
) -> Plan:
    """Matches a checkpoint's headers with the model.

    Args:
        text_rows: rows of our vocabulary that are text; the rest (FAST) is new. Default: all.
        tokenizer: fingerprint of our action tokenizer: FAST rows of our own files are used if theirs is the same.
        strict: refuse when anything would be initialised or ignored; copies of the tied table and padding rows do not count.
        resample: allow another image size, by bilinear resampling of the position embedding.

    Raises:
        InputError: not a checkpoint (see `open_source`), missing or mis-shaped tensors, another tokenizer's vocabulary.
    """
    source, shapes = open_source(path), our_shapes(config)
    names: dict[str, str] = {}
    for name in source.headers:
        if (known := canonical(source.family, name)) in names:
            raise InputError(f"{source.where}: {names[known]} and {name} are the same tensor; expected one of them")
        names[known] = name
    embedding = "language.embed_tokens.weight"
    if source.family == "torch" and embedding not in names and LM_HEAD in names:
        names[embedding] = names.pop(LM_HEAD)
    wanted: dict[str, list[Piece]] = {}
    for piece in pieces(source.family, shapes):
        wanted.setdefault(piece.path, []).append(piece)
    if not any(piece.name in names for group in wanted.values() for piece in group):
        raise InputError(
            f"{source.where}: none of its {len(names)} tensors has a name of PaliGemma, openpi or ours "
            f"(first: {_some(sorted(source.headers))})"
        )
    pi0 = any(name in names for name in PI0) and config.flow
    found: dict[str, list[Piece]] = {}
    for part in dict.fromkeys(path.split("/")[0] for path in wanted):
        group = {path: p for path, p in wanted.items() if path.startswith(part + "/")}
        have = [p.name in names for pieces_ in group.values() for p in pieces_]
        if not any(have) or (part == "expert" and pi0):
            continue
        if not all(have):
            gone = [p.name for pieces_ in group.values() for p in pieces_ if p.name not in names]
            raise InputError(
                f"{source.where}: {len(gone)} of the {len(have)} tensors of {part} are missing: {_some(gone)}; expected all of "
                "them, or none to initialise it"
            )
        found |= group
    used = [piece for group in found.values() for piece in group]
    _check(source, used, names, resample)
    ignored = sorted(set(names) - {piece.name for piece in used})
    _no_deeper(source, ignored, names, shapes)
    rows = _rows(source, shapes, names, found, text_rows, tokenizer)
    report = _report(source, shapes, found, names, ignored, rows, pi0)
    if strict:
        loose = [
            r
            for r in report.rows
            if r.state == "initialised" or (r.state == "ignored" and not r.note.startswith("copy"))
        ]
        if loose:
            raise InputError(
                f"{source.where}: strict, but not everything matches: {_some([f'{r.what} {r.state}' for r in loose])}; "
                "leave --weights-strict out to accept that"
            )
    return Plan(source, shapes, found, names, rows, report)


def _check(source: Source, used: list[Piece], names: dict[str, str], resample: bool) -> None:
    wrong = []
    for piece in used:
        header = source.headers[names[piece.name]]
        if header.dtype not in FLOATS:
            raise InputError(
                f"{source.where}: {names[piece.name]} is {header.dtype}, expected one of {', '.join(FLOATS)}"
            )
        fixed = slice(None)
        if piece.path == EMBEDDING:
            fixed = slice(1, None)
        elif piece.path == POSITION and resample:
            fixed = slice(-1, None)
        if len(header.shape) != len(piece.shape) or header.shape[fixed] != piece.shape[fixed]:
            wrong.append((piece, header.shape))
    if not wrong:
        return
    lines = "; ".join(f"{names[piece.name]} is {shape}, expected {piece.shape}" for piece, shape in wrong[:SHOWN])
    paths = {piece.path for piece, _ in wrong}
    hint = "use the checkpoint's --model sizes"
    if paths == {POSITION}:
        hint = "use its --model.image-size, or pass --weights-resample to resample the position embedding"
    elif all(path.startswith(("expert/action_in", "expert/action_out")) for path in paths):
        hint = "give the checkpoint's width as --model.action-dim; dims that an embodiment lacks are masked"
    raise InputError(f"{source.where}: {len(wrong)} tensors have other shapes than this model: {lines}; {hint}")


def _no_deeper(source: Source, ignored: list[str], names: dict[str, str], shapes: dict[str, tuple[int, ...]]) -> None:
    """Layers past our depth would otherwise be ignored one by one, and a shallow model pass for the checkpoint's."""
    if source.family != "torch":
        return
    depth = {name: shapes[rule.path][0] for rule in RULES["torch"] if rule.path in shapes for name in rule.names}
    for name in ignored:
        layer = re.search(r"\.(\d+)\.", name)
        if layer and int(layer[1]) >= (ours := depth.get(name.replace(layer[0], ".{}.", 1), math.inf)):
            raise InputError(
                f"{source.where}: it has {names[name]}, this model only {ours} such layers; use the checkpoint's --model sizes"
            )


def _rows(
    source: Source,
    shapes: dict[str, tuple[int, ...]],
    names: dict[str, str],
    found: dict[str, list[Piece]],
    text_rows: int | None,
    tokenizer: str | None,
) -> int:
    """How many rows of the embedding to copy."""
    if EMBEDDING not in found:
        return 0
    ours = shapes[EMBEDDING][0]
    theirs = source.headers[names[found[EMBEDDING][0].name]].shape[0]
    text = ours if text_rows is None else text_rows
    known = source.metadata if source.family == "fasttok" else {}
    if theirs == ours and (tokenizer is None or known.get("tokenizer", tokenizer) == tokenizer):
        return ours
    theirs = min(theirs, int(known["text_rows"])) if known.get("text_rows", "").isdigit() else theirs
    if theirs - text > SPARE_ROWS:
        raise InputError(
            f"{source.where}: its embedding has {theirs} rows, our text tokenizer {text} tokens: not the tokenizer of these "
            "weights; pass theirs as --data.text-tokenizer"
        )
    return min(theirs, text)


def _report(
    source: Source,
    shapes: dict[str, tuple[int, ...]],
    found: dict[str, list[Piece]],
    names: dict[str, str],
    ignored: list[str],
    rows: int,
    pi0: bool,
) -> Report:
    loaded: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    fresh: Counter[str] = Counter()
    for path, shape in shapes.items():
        what = "/".join(path.split("/")[:2]) if path in found else path.split("/")[0]
        sizes[what] += int(np.prod(shape))
        if path in found:
            loaded[what] += len(found[path])
        else:
            fresh[what] += 1
    notes: dict[str, str] = {}
    out = []
    if EMBEDDING in found:
        theirs = source.headers[names[found[EMBEDDING][0].name]].shape[0]
        total, width = shapes[EMBEDDING]
        sizes[EMBEDDING] = rows * width
        notes[EMBEDDING] = f"{rows:,} of its {theirs:,} rows" + ("; the others are padding" if theirs > rows else "")
        if total > rows:
            out = [
                Row(
                    "initialised",
                    EMBEDDING,
                    0,
                    (total - rows) * width,
                    f"{total - rows:,} new rows: mean of those loaded",
                )
            ]
    if POSITION in found and source.headers[names[found[POSITION][0].name]].shape != found[POSITION][0].shape:
        stored = source.headers[names[found[POSITION][0].name]].shape
        notes[POSITION] = f"resampled from {stored} to {found[POSITION][0].shape}"
    first = [Row("loaded", what, loaded[what], sizes[what], notes.get(what, "")) for what in loaded]
    why = {"expert": PI0_WHY} if pi0 else {}
    out += [Row("initialised", what, 0, sizes[what], why.get(what, "not in the checkpoint")) for what in fresh]
    groups: dict[tuple[str, str], list[str]] = {}
    for name in ignored:
        general = re.sub(r"(?<=\.)\d+(?=\.)", "*", name)
        groups.setdefault((general, _why_ignored(name, pi0, shapes)), []).append(name)
    for (general, note), members in groups.items():
        count = sum(int(np.prod(source.headers[names[name]].shape)) for name in members)
        out.append(Row("ignored", general, len(members), count, note))
    return Report(f"weights from {source.where} ({KINDS[source.family]})", (*first, *out))


def _why_ignored(name: str, pi0: bool, shapes: dict[str, tuple[int, ...]]) -> str:
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
