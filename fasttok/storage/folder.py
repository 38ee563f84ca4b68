"""Reads and writes the tokenizer folder: plain JSON, which loads without network, pickle or remote code.

tokenizer.json          merges and alphabet, as the `tokenizers` library writes them
processor_config.json   the published processor's fields and a `fasttok` block, see `ProcessorConfig`
tokenizer_config.json   what transformers needs beside tokenizer.json, and a `fasttok` block, see `saved_again`
bpe_tokenizer/          a second copy of tokenizer.json and tokenizer_config.json, where transformers 5.4 and 5.5 look for them
norm_stats.json         action and state statistics, see `NormStatsFile`
README.md               the tokenizer's card

A tokenizer with a transform other than the DCT has format 3, without tokenizer.json, tokenizer_config.json and bpe_tokenizer/.
With these, transformers and the published class would find the vocabulary and decode its ids wrongly, by a DCT. Instead it has:

vocabulary.json         the content of tokenizer.json
transform.json          the transforms, see `transform_file`
only_fasttok.py         what AutoProcessor loads instead of the published class: it refuses and says why, see `only_fasttok`
"""

import inspect
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fasttok.actions.embodiment import Embodiment
from fasttok.actions.normalize import NormStats, NormStatsEntry
from fasttok.codec.bpe import Bpe
from fasttok.codec.transform import Transform
from fasttok.common import json_files
from fasttok.common.choices import FitMode
from fasttok.common.given_paths import check_tokenizer
from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.common.output_folder import Mark, OutputKind, check_output
from fasttok.errors import InputError
from fasttok.storage import only_fasttok, saved_again, transform_file
from fasttok.storage.saved_again import SavedAs
from fasttok.storage.transform_file import TRANSFORM_FILE

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
TRANSFORM_VERSION = 3  # of folders with a transform other than the DCT; older releases refuse them
SUBFOLDER = (
    "bpe_tokenizer"  # where transformers 5 saves a processor's tokenizer, and some releases of it look only there
)
VOCABULARY, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
COPIED = (VOCABULARY, TOKENIZER_CONFIG)  # files of which `SUBFOLDER` has a second copy
OWN_VOCABULARY, REFUSAL = "vocabulary.json", "only_fasttok.py"
TOKENIZER = OutputKind(
    "tokenizer folder of fasttok",
    marks=(
        Mark("processor_config.json", ("scale", "fasttok/format_version"), TRANSFORM_VERSION, "fasttok/format_version"),
    ),
    files=(
        *COPIED,
        *(f"{SUBFOLDER}/{name}" for name in COPIED),
        "processor_config.json",
        "norm_stats.json",
        OWN_VOCABULARY,
        TRANSFORM_FILE,
        REFUSAL,
        "README.md",
    ),
)
# Where AutoProcessor finds the class, if its user trusts remote code; nothing here ever loads it.
PUBLISHED_CODE = "physical-intelligence/fast--processing_action_tokenizer.UniversalActionProcessor"
PROCESSOR = "UniversalActionProcessor"
# The settings of the published processor, except for the class: the library's backend, which reads tokenizer.json as it is.
FOR_TRANSFORMERS = {
    "clean_up_tokenization_spaces": False,
    "model_max_length": 10**30,
    "processor_class": PROCESSOR,
    "tokenizer_class": "PreTrainedTokenizerFast",
}


@dataclass(frozen=True)
class FasttokBlock:
    """The `fasttok` block of processor_config.json, which published folders do not have.

    Attributes:
        format_version: version of the folder's format.
        mode: `native`, `published` or `fixed`; only for information, since tokenizer.json or transform.json decides it.
        max_token: largest coefficient that has a code; None if it is unknown.
        embodiments: what each embodiment is: horizon, dims, Hz, encoding, and what is tokenised.
    """

    format_version: int
    mode: FitMode | None = None
    max_token: int | None = None
    embodiments: dict[str, Embodiment] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ProcessorConfig:
    """processor_config.json: the fields of the published processor, and ours in a block of their own.

    Attributes:
        action_dim: dims of the only embodiment; None if there are several, or none.
        time_horizon: steps per chunk of the only embodiment; None if there are several, or none.
        auto_map: class that AutoProcessor loads, if its user trusts remote code.
        processor_class: name of that class.
        min_token: smallest coefficient that has a code.
        scale: factor before rounding.
        vocab_size: number of ids.
        fasttok: our block; None in published folders.
    """

    action_dim: int | None = None
    time_horizon: int | None = None
    auto_map: dict[str, str] = field(default_factory=lambda: {"AutoProcessor": PUBLISHED_CODE})
    processor_class: str = PROCESSOR
    min_token: int
    scale: float
    vocab_size: int | None = None
    fasttok: FasttokBlock | None = None


NEEDED = (
    "min_token",
    "scale",
)  # the published fields that are read; other versions of the processor have more fields


@dataclass(frozen=True)
class NormStatsFile:
    """norm_stats.json as openpi writes and reads it; our entries have more keys, which it ignores.

    Attributes:
        norm_stats: "actions" and "state" of the only embodiment that processor_config.json describes, or of chunks without one;
            else "NAME/actions" and "NAME/state".
    """

    norm_stats: dict[str, NormStatsEntry] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TokenizerFolder:
    """The content of a folder, from which a tokenizer is made.

    Attributes:
        bpe: the vocabulary.
        scale: factor before rounding.
        min_token: smallest coefficient that has a code.
        max_token: largest coefficient that has a code; None if the folder does not record it.
        stats: action statistics by embodiment.
        state_stats: proprio statistics by embodiment.
        embodiments: what each embodiment is.
        fingerprint: fingerprint of the saved tokenizer, as the folder records it; None if it does not.
        transforms: transform of each embodiment; an embodiment without an entry has the DCT.
    """

    bpe: Bpe
    scale: float
    min_token: int
    max_token: int | None
    stats: Mapping[str, NormStats]
    state_stats: Mapping[str, NormStats]
    embodiments: Mapping[str, Embodiment]
    fingerprint: str | None = None
    transforms: Mapping[str, Transform] = field(default_factory=dict)

    @property
    def mode(self) -> FitMode:
        """Mode of the fit."""
        return transform_file.mode_of(self.transforms) or self.bpe.mode


def save(content: TokenizerFolder, path: Path, card: str, overwrite: bool, fingerprint: str) -> None:
    """Writes the folder beside `path`, then renames it; see `ActionTokenizer.save`."""
    out = check_output(path, TOKENIZER, overwrite=overwrite, how="--overwrite (overwrite=True)", other="another folder")
    bpe = content.bpe
    files = {
        VOCABULARY: bpe.to_json(),
        TOKENIZER_CONFIG: json.dumps(FOR_TRANSFORMERS | {"fasttok": _saved_as(content, fingerprint)}, indent=2) + "\n",
        "processor_config.json": json_files.write(_config(content)),
        "norm_stats.json": json_files.write(NormStatsFile(_stats_entries(content))),
        "README.md": card or _short_card(content),
    }
    if content.transforms:
        files[OWN_VOCABULARY] = files.pop(VOCABULARY)
        del files[TOKENIZER_CONFIG]
        files[TRANSFORM_FILE] = transform_file.text(content.transforms)
        files[REFUSAL] = inspect.getsource(only_fasttok)
    else:
        files |= {f"{SUBFOLDER}/{name}": files[name] for name in COPIED}
    temporary = out.aside()
    try:
        if not content.transforms:
            (temporary / SUBFOLDER).mkdir()
        for name, text in files.items():
            (temporary / name).write_text(text, encoding="utf-8")
        out.install(temporary, last="processor_config.json")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _short_card(content: TokenizerFolder) -> str:
    about = f"{content.bpe.size} ids, scale {content.scale:g}, {content.mode} fit."
    return f"# FAST action tokenizer\n\n{about}\n{transform_file.only_here(content.transforms)}"


def _saved_as(content: TokenizerFolder, fingerprint: str) -> object:
    names = tuple(sorted(content.embodiments)), tuple(sorted(content.stats))
    return json_files.encode(SavedAs(saved_again.FORMAT_VERSION, fingerprint, content.max_token, *names))


def _config(content: TokenizerFolder) -> ProcessorConfig:
    refusal = only_fasttok.OnlyFasttok.__name__
    only = next(iter(content.embodiments.values())) if len(content.embodiments) == 1 else None
    return ProcessorConfig(
        action_dim=only.action_dim if only else None,
        time_horizon=only.horizon if only else None,
        min_token=content.min_token,
        scale=content.scale,
        vocab_size=content.bpe.size,
        auto_map={"AutoProcessor": f"{Path(REFUSAL).stem}.{refusal}" if content.transforms else PUBLISHED_CODE},
        processor_class=refusal if content.transforms else PROCESSOR,
        fasttok=FasttokBlock(
            TRANSFORM_VERSION if content.transforms else FORMAT_VERSION,
            content.mode,
            content.max_token,
            dict(sorted(content.embodiments.items())),
        ),
    )


def load(path: Path) -> TokenizerFolder:
    """Reads a folder that `save` or the published processor wrote; see `ActionTokenizer.load`."""
    check_tokenizer(path)
    config = _read_config(path / "processor_config.json")
    own = config.fasttok or FasttokBlock(FORMAT_VERSION)
    special = own.format_version == TRANSFORM_VERSION
    bpe = _own_vocabulary(path) if special else _vocabulary(path)
    stats_file = path / "norm_stats.json"
    stats = NormStatsFile()
    if stats_file.is_file():
        stats = json_files.read(NormStatsFile, stats_file.read_bytes(), str(stats_file))
    alone = next(iter(own.embodiments)) if len(own.embodiments) == 1 else ""
    actions, states = (_named(stats.norm_stats, what, alone) for what in ("actions", "state"))
    transforms: dict[str, Transform] = {}
    if special:
        transforms = transform_file.read(path / TRANSFORM_FILE, own.embodiments, {*actions, *own.embodiments} or {""})
    for what, every in (("action", actions), ("state", states)):
        for name, found in every.items():
            if erased := found.erased:
                logger.warning(
                    f"{stats_file}: {what} dims {erased} of {name or 'the data'} move, but are always decoded as one value: they "
                    "moved in too few steps for an older fasttok's quantiles; fit the tokenizer again"
                )
    saved = _check_whole(path, bpe, config, actions)
    max_token = saved.max_token if saved is not None and config.fasttok is None else own.max_token
    fingerprint = None if saved is None else saved.fingerprint
    return TokenizerFolder(
        bpe, config.scale, config.min_token, max_token, actions, states, own.embodiments, fingerprint, transforms
    )


def _check_whole(path: Path, bpe: Bpe, config: ProcessorConfig, actions: Mapping[str, NormStats]) -> SavedAs | None:
    """Notices what another program left out when it saved the folder again; returns what fasttok had recorded in it."""
    block = config.fasttok
    files = [path / TOKENIZER_CONFIG, path / SUBFOLDER / TOKENIZER_CONFIG]
    marks = [(saved, file) for file in files if (saved := saved_again.read(file)) is not None]
    for saved, file in marks:
        saved_again.check(saved, path, file, None if block is None else block.embodiments, actions)
    if block is not None:
        if not marks and block.embodiments and not (path / "norm_stats.json").is_file():
            raise InputError(
                f"{path / 'norm_stats.json'} is missing, so actions would not be normalised: copy it from the folder that "
                "fasttok saved"
            )
    elif not marks and bpe.mode == "native":
        saved_again.warn_of_unmarked(path, bool(actions))
    return marks[0][0] if marks else None


def _vocabulary(path: Path) -> Bpe:
    """Reads the vocabulary of a folder. If the folder has it twice, both must be the same."""
    files = [file for file in (path / VOCABULARY, path / SUBFOLDER / VOCABULARY) if file.is_file()]
    if not files or (files[0].parent != path and saved_again.read(path / TOKENIZER_CONFIG) is not None):
        also = f"; {files[0]} is a copy of it" if files else ""
        raise InputError(
            f"{path / VOCABULARY} is missing; a tokenizer folder has tokenizer.json and processor_config.json{also}"
        )
    texts = [_text(file) for file in files]
    bpe = Bpe.from_json(texts[0], str(files[0]))
    if texts[-1] != texts[0]:  # other bytes can mean the same: each program writes JSON in its own way
        copy = Bpe.from_json(texts[-1], str(files[-1]))
        if not bpe.same_ids(copy):
            raise InputError(
                f"{files[0]} ({bpe.size} ids) and {files[-1]} ({copy.size} ids) are two different vocabularies, but should be "
                f"copies of one: put back the folder as it was saved, or remove {SUBFOLDER}/ if {VOCABULARY} is the right one"
            )
    return bpe


def _own_vocabulary(path: Path) -> Bpe:
    """Reads the vocabulary of a folder with transforms."""
    file = path / OWN_VOCABULARY
    if not file.is_file():
        raise InputError(f"{file} is missing; copy it from the folder that fasttok saved, or fit again")
    return Bpe.from_json(_text(file), str(file))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not a BPE tokenizer.json: {error}") from None


def _read_config(file: Path) -> ProcessorConfig:
    if not file.is_file():
        raise InputError(f"{file} is missing; a tokenizer folder has tokenizer.json and processor_config.json")
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        refuse_pointer_at(str(file))
        raise InputError(f"{file} is not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{file} contains a {type(raw).__name__}, expected a JSON object")
    block = raw.get("fasttok")
    own = json_files.decode(FasttokBlock, block, f"{file}: fasttok", TRANSFORM_VERSION) if block else None
    if own is not None and own.format_version not in (FORMAT_VERSION, TRANSFORM_VERSION):
        raise InputError(
            f"{file}: format version {own.format_version}, this fasttok reads {FORMAT_VERSION} and {TRANSFORM_VERSION}; fit again"
        )
    try:
        config = json_files.decode(ProcessorConfig, {key: raw[key] for key in NEEDED if key in raw}, str(file))
    except InputError as error:
        raise InputError(f"{error}; expected scale and min_token, as a FAST processor saves them") from None
    return replace(config, fasttok=own)


def _named(entries: Mapping[str, NormStatsEntry], what: str, alone: str) -> dict[str, NormStats]:
    """Returns the statistics of `actions` or of `state` by embodiment; `alone` is the name of the only embodiment."""
    return {
        alone if key == what else key.removesuffix(f"/{what}"): NormStats.from_entry(entry)
        for key, entry in entries.items()
        if key == what or key.endswith(f"/{what}")
    }


def _stats_entries(content: TokenizerFolder) -> dict[str, NormStatsEntry]:
    """Returns the entries of norm_stats.json. They are flat, so that openpi's loader takes them."""
    names = sorted({*content.stats, *content.state_stats, *content.embodiments})
    short = len(names) == 1 and names[0] in ("", *content.embodiments)  # else `load` would not know the name
    return {
        (what if short else f"{name}/{what}"): stats[name].to_entry()
        for name in names
        for what, stats in (("actions", content.stats), ("state", content.state_stats))
        if name in stats
    }
