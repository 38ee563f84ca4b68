"""The tokenizer folder: plain JSON, loadable without network, pickle or remote code.

tokenizer.json          merges and alphabet, as the `tokenizers` library writes them
processor_config.json   the published processor's fields (scale, min_token, vocab_size, ...) and a `fasttok` block
norm_stats.json         per embodiment: action and state statistics, horizon, dims, Hz, encoding
README.md               the card
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasttok.bpe import Bpe
from fasttok.embodiment import Embodiment
from fasttok.errors import InputError
from fasttok.normalize import NormStats

if TYPE_CHECKING:
    from fasttok.tokenizer import ActionTokenizer

FORMAT_VERSION = 1


def save(tok: "ActionTokenizer", path: Path, card: str, overwrite: bool) -> None:
    """Writes beside `path`, then renames; see `ActionTokenizer.save`."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} exists and is not a folder; choose another path for the tokenizer")
    if path.is_dir() and any(path.iterdir()):
        if not overwrite:
            raise InputError(f"{path} exists and is not empty; pass --overwrite (overwrite=True), or another path")
        if not (path / "processor_config.json").is_file():
            raise InputError(f"{path} is not a tokenizer folder, so it is not overwritten; choose another path")
    only = next(iter(tok.embodiments.values())) if len(tok.embodiments) == 1 else None
    files = {
        "tokenizer.json": tok.bpe.to_json(),
        "processor_config.json": _pretty(
            {
                "action_dim": only.action_dim if only else None,
                "time_horizon": only.horizon if only else None,
                "auto_map": {"AutoProcessor": "processing_action_tokenizer.UniversalActionProcessor"},
                "processor_class": "UniversalActionProcessor",
                "min_token": tok.min_token,
                "scale": tok.scale,
                "vocab_size": tok.vocab_size,
                "fasttok": {"format_version": FORMAT_VERSION, "mode": tok.mode, "max_token": tok.max_token},
            }
        ),
        "norm_stats.json": _pretty(
            {
                "norm_stats": {
                    name: {
                        "actions": tok.stats[name].to_json() if name in tok.stats else None,
                        "state": tok.state_stats[name].to_json() if name in tok.state_stats else None,
                        "embodiment": tok.embodiments[name].to_json() if name in tok.embodiments else None,
                    }
                    for name in sorted({*tok.stats, *tok.state_stats, *tok.embodiments})
                }
            }
        ),
        "README.md": card or f"# FAST action tokenizer\n\n{tok.vocab_size} ids, scale {tok.scale:g}, {tok.mode} fit.\n",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        temporary.chmod(0o755)
        for name, text in files.items():
            (temporary / name).write_text(text, encoding="utf-8")
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(path: Path) -> dict[str, Any]:
    """The fields of an ActionTokenizer; see `ActionTokenizer.load`."""
    if not path.is_dir():
        raise InputError(
            f"{path} is not a tokenizer folder: no such folder; make one with: fasttok fit DATA --out {path}"
        )
    config = read_json(path / "processor_config.json")
    own = config.get("fasttok") or {}
    if own and own.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{path}: format version {own.get('format_version')}, this fasttok reads {FORMAT_VERSION}; upgrade fasttok"
        )
    try:
        fields: dict[str, Any] = {
            "scale": float(config["scale"]),
            "min_token": int(config["min_token"]),
            "max_token": None if own.get("max_token") is None else int(own["max_token"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}/processor_config.json: {error!r}; expected scale and min_token, as a FAST processor saves them"
        ) from None
    vocabulary = path / "tokenizer.json"
    if not vocabulary.is_file():
        raise InputError(f"{vocabulary} is missing; a tokenizer folder has tokenizer.json and processor_config.json")
    fields["bpe"] = Bpe.from_json(vocabulary.read_text(encoding="utf-8"), str(vocabulary))
    stats_file = path / "norm_stats.json"
    groups: dict[str, tuple[str, Any]] = {
        "stats": ("actions", NormStats),
        "state_stats": ("state", NormStats),
        "embodiments": ("embodiment", Embodiment),
    }
    entries = read_json(stats_file).get("norm_stats", {}) if stats_file.is_file() else {}
    if "actions" in entries and "mean" in (entries["actions"] or {}):  # openpi's file: one embodiment, no name
        entries = {"": entries}
    for key, (part, kind) in groups.items():
        fields[key] = {name: kind.from_json(entry[part]) for name, entry in entries.items() if entry.get(part)}
    return fields


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InputError: missing, or not a JSON object.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing; a tokenizer folder has tokenizer.json and processor_config.json")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} holds a {type(data).__name__}, expected a JSON object")
    return data


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
