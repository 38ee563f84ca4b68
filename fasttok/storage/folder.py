"""The tokenizer folder: plain JSON, loadable without network, pickle or remote code.

tokenizer.json          merges and alphabet, as the `tokenizers` library writes them
processor_config.json   the published processor's fields (scale, min_token, vocab_size, ...) and a `fasttok` block: range,
                        embodiments (horizon, dims, Hz, encoding, what is tokenised)
tokenizer_config.json   what transformers asks for beside tokenizer.json
norm_stats.json         action and state statistics as openpi writes and reads them: "actions" and "state", or
                        "NAME/actions" and "NAME/state" where there are several embodiments
README.md               the card
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fasttok.actions.embodiment import Embodiment
from fasttok.actions.normalize import NormStats
from fasttok.codec.bpe import Bpe
from fasttok.errors import InputError

if TYPE_CHECKING:
    from fasttok.tokenizer import ActionTokenizer

FORMAT_VERSION = 2
# Where AutoProcessor finds the class, if its user trusts remote code; nothing here ever loads it.
SUBFOLDER = "bpe_tokenizer"  # where transformers 5 saves a processor's tokenizer
PUBLISHED_CODE = "physical-intelligence/fast--processing_action_tokenizer.UniversalActionProcessor"
# The published processor's own, but for the class: the library's backend, which reads tokenizer.json as it stands.
TOKENIZER_CONFIG = {
    "clean_up_tokenization_spaces": False,
    "model_max_length": 10**30,
    "processor_class": "UniversalActionProcessor",
    "tokenizer_class": "PreTrainedTokenizerFast",
}


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
                "auto_map": {"AutoProcessor": PUBLISHED_CODE},
                "processor_class": "UniversalActionProcessor",
                "min_token": tok.min_token,
                "scale": tok.scale,
                "vocab_size": tok.vocab_size,
                "fasttok": {
                    "format_version": FORMAT_VERSION,
                    "mode": tok.mode,
                    "max_token": tok.max_token,
                    "embodiments": {name: what.to_json() for name, what in sorted(tok.embodiments.items())},
                },
            }
        ),
        "tokenizer_config.json": _pretty(TOKENIZER_CONFIG),
        "norm_stats.json": _pretty({"norm_stats": _stats_entries(tok)}),
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
    if not vocabulary.is_file() and (path / SUBFOLDER / "tokenizer.json").is_file():
        vocabulary = path / SUBFOLDER / "tokenizer.json"
    if not vocabulary.is_file():
        raise InputError(f"{vocabulary} is missing; a tokenizer folder has tokenizer.json and processor_config.json")
    fields["bpe"] = Bpe.from_json(vocabulary.read_text(encoding="utf-8"), str(vocabulary))
    embodiments = own.get("embodiments") or {}
    if not isinstance(embodiments, dict):
        raise InputError(f"{path}/processor_config.json: embodiments is {embodiments!r}, expected an object")
    fields["embodiments"] = {name: Embodiment.from_json(entry) for name, entry in embodiments.items()}
    stats_file = path / "norm_stats.json"
    entries = read_json(stats_file).get("norm_stats", {}) if stats_file.is_file() else {}
    alone = next(iter(embodiments)) if len(embodiments) == 1 else ""
    for key, part in (("stats", "actions"), ("state_stats", "state")):
        named = {
            alone if name == part else name.removesuffix(f"/{part}"): entry
            for name, entry in entries.items()
            if name == part or name.endswith(f"/{part}")
        }
        fields[key] = {name: NormStats.from_json(entry) for name, entry in named.items()}
    return fields


def _stats_entries(tok: "ActionTokenizer") -> dict[str, Any]:
    """norm_stats.json's entries: flat, so that openpi's loader takes them; ours have more fields, which it ignores."""
    names = sorted({*tok.stats, *tok.state_stats, *tok.embodiments})
    entries = {}
    for name in names:
        for part, stats in (("actions", tok.stats), ("state", tok.state_stats)):
            if name in stats:
                entries[part if len(names) == 1 else f"{name}/{part}"] = stats[name].to_json()
    return entries


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
