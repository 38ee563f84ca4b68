"""Drafts an entry for a folder of questions, captions or boxes, from the names of its files and a look into the first."""

import glob
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.common.names import is_beside
from fasttok.common.stores import kind_at
from fasttok.episodes.features import Feature
from fasttok.episodes.lerobot import few
from fasttok.errors import InputError
from pipelines.common.image_headers import CLAIMS
from pipelines.drafts.lines import flow
from pipelines.recordings.hdf5 import fits
from pipelines.recordings.split_notes import split_notes
from pipelines.vlm import jsonl, webdataset
from pipelines.vlm.confined_folder import ConfinedFolder, check_name
from pipelines.vlm.json_stream import BrokenJsonError, JsonScanner
from pipelines.vlm.record import RecordError
from pipelines.vlm.values import JsonObject, JsonValue

IMAGES = ("image", "images", "img", "jpg", "file_name")  # the last is that of Hugging Face's folders of images
PROMPTS = ("question", "prompt", "instruction", "query")
TARGETS = ("answer", "caption", "label", "text", "txt", "response")
# A name with one of these words is about a question, an answer or an image, and is not it.
ABOUT = frozenset(
    {"id", "ids", "type", "types", "token", "tokens", "class", "classes", "width", "height", "size", "url", "urls"}
)
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
FIRST_IMAGE = re.compile(rb'"(images?)"\s*:\s*(?:\[\s*)?("(?:[^"\\]|\\.)*")')
HEAD = 1 << 20
Draft = tuple[list[str], list[str]]  # lines of YAML, what is not clear


def propose(directory: str) -> tuple[str, list[str]] | None:
    """Returns (YAML of a drafted entry, what is not clear) for a folder; None if no layout is recognised."""
    place = ConfinedFolder(directory)
    if kind_at(place.fs, place.root) != "directory":
        return None
    files = sorted(place.relative(path) for path in place.fs.find(place.root, maxdepth=3) if not is_beside(path))
    for look in (_coco, _vqav2, _webdataset, _parquet, _json):
        found = look(place, files)
        if found:
            lines, unclear = found
            name = place.root.rsplit("/", 1)[-1]
            head = [f"# A draft from the files of {name}: check every line.", flow("name", name)]
            return "\n".join([*head, *lines, "license: ''"]) + "\n", unclear
    return None


def of_features(name: str, features: dict[str, Feature]) -> tuple[str, list[str]] | None:
    """Like `propose`, for a TFDS directory; None if its examples are episodes or have no image."""
    image = [key for key, f in features.items() if f.kind == "image" and not f.lengths]
    if any(key.startswith("steps/") for key in features) or not image:
        return None
    texts = [key for key, f in features.items() if f.dtype == "bytes" and f.kind != "image" and len(f.lengths) < 2]
    lines, unclear = _keys(texts, [])
    head = [f"# A draft from the features of {name}: check every line.", flow("name", name), _kind(lines), "format: tfds",
            flow("image", chosen(image, IMAGES) or image[0])]  # fmt: skip
    return "\n".join([*head, *lines, "license: ''"]) + "\n", unclear


def _kind(lines: list[str]) -> str:
    return "kind: vqa" if any(line.startswith("prompt:") for line in lines) else "kind: caption"


def _keys(names: list[str], unclear: list[str]) -> Draft:
    """Chooses the keys of the prompt and of the target."""
    prompt = chosen(names, PROMPTS)
    target = chosen([name for name in names if name != prompt], TARGETS)
    lines = [flow("prompt", prompt) if prompt else "fixed_prompt: caption en"]
    lines.append(flow("target", target) if target else "target: null")
    if not target:
        unclear.append(f"target: none of {', '.join(names) or 'no key'} looks like an answer or caption")
    if not prompt:
        unclear.append(
            f"prompt: none of {', '.join(names) or 'no key'} looks like a question; the draft gives one for all"
        )
    return lines, unclear


def chosen(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    """Returns the name that is one of some words, or else the first one that contains such a word; None without any.

    >>> chosen(["question_id", "questionType", "my_question", "question"], PROMPTS), chosen(["context", "fullAnswer"], TARGETS)
    ('question', 'fullAnswer')
    """
    plain = [name for name in names if not ABOUT & set(_words(name))]
    plural = {*wanted, *(f"{word}s" for word in wanted)}
    ranks = (
        [name for name in names if name.lower() in plural],
        [name for name in plain if plural & set(_words(name))],
        [name for name in plain if any(word in name.lower() for word in wanted)],
    )
    return next((found[0] for found in ranks if found), None)


def _words(name: str) -> list[str]:
    """Returns the words of a name: "fullAnswer" and "full_answer" have two."""
    return [word.lower() for word in WORD.findall(name)]


def _split(file: str) -> str:
    """Returns train, val or test, from a word of a file's name or of its folders; train if none of them says it.

    >>> _split("annotations/captions_val2017.json"), _split("test/data.json"), _split("latest.json")
    ('val', 'test', 'train')
    """
    for part in reversed(file.split("/")):
        for word in _words(part):
            if word.startswith(("train", "test")):
                return word[: 5 if word.startswith("train") else 4]
            if word in ("val", "valid", "validation", "eval"):
                return "val"
    return "train"


def _by_split(files: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(_split(file), []).append(file)
    return found


def _splits(files: list[str], unclear: list[str], key: str = "splits") -> str:
    """Returns a YAML line with the first file of each split, and adds to `unclear` which others there are."""
    found = _by_split(files)
    for split, own in found.items():
        if len(own) > 1:
            unclear.append(
                f"{key}: {split} is {own[0]}, and there are also {few(own[1:])}; a pattern (*) takes several"
            )
    return flow(key, {split: own[0] for split, own in found.items()})


def _patterns(files: list[str], unclear: list[str]) -> str:
    """Returns a YAML line with a file pattern for each split: runs of digits become a star.

    It adds to `unclear` which files fit the pattern of no split, or of another one.
    """
    patterns = {}
    for split, own in _by_split(files).items():
        name = glob.escape(own[0])
        others = [file for file in files if _split(file) != split]
        loose, strict = (re.sub(r"\d+", digits, name) for digits in ("*", "[0-9]*"))
        patterns[split] = loose if not any(fits(file, loose) for file in others) else strict
    of = {file: [split for split, pattern in patterns.items() if fits(file, pattern)] for file in files}
    unclear.extend(split_notes(of, "files", "the draft"))
    return flow("splits", patterns)


def _images(place: ConfinedFolder, files: list[str], unclear: list[str], splits: Sequence[str], name: str = "") -> str:
    """Returns a YAML line with the folder in which an image has this name, or else with the one that has most of the images.

    If each of several splits has such a folder, as `train2017` and `val2017`, the line has `{split}` for their names.
    """
    pictures = [file for file in files if file.lower().endswith((".jpg", ".jpeg", ".png"))]
    tops = Counter(file.rsplit("/", 1)[0] if "/" in file else "." for file in pictures)
    above = {"/".join(top.split("/")[:depth]) for top in tops for depth in range(1, top.count("/") + 1)}
    for folder in (*sorted(tops), *sorted(above), "."):
        if name and not check_name(name) and kind_at(place.fs, f"{place.root}/{folder}/{name}") == "file":
            return flow("images", _of_each_split(folder, {*tops, *above}, splits) or folder)
    if not tops:
        unclear.append("images: no folder of images was found")
        return "images: images"
    best = max(tops, key=lambda top: tops[top])
    own = _of_each_split(best, set(tops), splits)
    if len(tops) > 1 and not own:
        unclear.append(f"images: took {best}, there are also {', '.join(sorted(set(tops) - {best})[:5])}")
    return flow("images", own or best)


def _of_each_split(folder: str, folders: set[str], splits: Sequence[str]) -> str:
    """Returns the name of a split's folder with `{split}` in place of the split, "" if the other splits have no such folder.

    >>> _of_each_split("images/val2017", {"images/val2017", "images/train2017"}, ["train", "val"])
    'images/{split}2017'
    """
    for split in splits if len(splits) > 1 else ():
        for found in re.finditer(rf"(?<![A-Za-z]){split}(?![A-Za-z])", folder):
            before, after = folder[: found.start()], folder[found.end() :]
            if all(f"{before}{other}{after}" in folders for other in splits) and not {"{", "}"} & set(folder):
                return f"{before}{{split}}{after}"
    return ""


def _coco(place: ConfinedFolder, files: list[str]) -> Draft | None:
    for what, form, kind, more in (
        ("instances_", "coco_boxes", "vqa", "detect: all"),
        ("captions_", "coco_captions", "caption", "fixed_prompt: caption en"),
    ):
        found = [file for file in files if file.rsplit("/", 1)[-1].startswith(what) and file.endswith(".json")]
        if found:
            unclear: list[str] = []
            if what == "instances_" and any("/captions_" in f"/{file}" for file in files):
                unclear.append("there are captions, too: they need an entry of their own, with format: coco_captions")
            return [
                f"kind: {kind}",
                f"format: {form}",
                _splits(found, unclear),
                _images(place, files, unclear, list(_by_split(found))),
                more,
            ], unclear
    return None


def _vqav2(place: ConfinedFolder, files: list[str]) -> Draft | None:
    questions = [file for file in files if file.endswith("_questions.json")]
    annotations = [file for file in files if file.endswith("_annotations.json")]
    if not questions or not annotations:
        return None
    unclear = ["image_name: taken to be COCO 2014's names"]
    template = 'image_name: "COCO_{split}2014_{image_id:012d}.jpg"'
    both = {_split(file) for file in questions} & {_split(file) for file in annotations}
    lines = [
        _splits([file for file in own if _split(file) in both], unclear, key)
        for key, own in (("splits", questions), ("annotations", annotations))
    ]
    return ["kind: vqa", "format: vqav2", *lines, _images(place, files, unclear, sorted(both)), template], unclear


def _webdataset(place: ConfinedFolder, files: list[str]) -> Draft | None:
    shards = [file for file in files if file.endswith(".tar")]
    if not shards:
        return None
    names: list[str] = []
    path = f"{place.root}/{shards[0]}"
    with place.fs.open(path, "rb") as stream:
        try:
            group = next(webdataset.groups(webdataset.members(stream, place.fs.size(path))), None)
        except tarfile.TarError as error:
            refuse_pointer_at(path)
            raise InputError(f"{path}: expected a tar file, got {error}") from None
        if group and "json" in group.members and group.members["json"].size < HEAD:
            stream.seek(group.members["json"].start)
            names = _texts_of(_object(stream.read(group.members["json"].size)))
    own = [name for name in (group.members if group else {}) if name not in CLAIMS and name != "json"]
    names = [*(name for name in own if name != "txt"), *names, *(name for name in own if name == "txt")]
    lines, unclear = _keys(list(dict.fromkeys(names)), [])
    return [_kind(lines), "format: webdataset", _patterns(shards, unclear), *lines], unclear


def _texts_of(row: JsonObject) -> list[str]:
    """Returns the keys of a JSON object whose values are texts or lists, and `answer`, which may be a number."""
    return [key for key, value in row.items() if isinstance(value, str | list) or key.lower() == "answer"]


def _parquet(place: ConfinedFolder, files: list[str]) -> Draft | None:
    tables = [file for file in files if file.endswith(".parquet")]
    if not tables:
        return None
    path = f"{place.root}/{tables[0]}"
    try:
        with place.fs.open(path, "rb") as stream:
            schema = pq.read_schema(stream)
    except pa.ArrowException as error:
        refuse_pointer_at(path)
        raise InputError(f"{path}: expected a Parquet file, got {error}") from None
    image = chosen([field.name for field in schema if may_be_image(field.type)], IMAGES)
    if not image:
        return None
    texts = [field.name for field in schema if is_text(field.type)]
    lines, unclear = _keys(texts, [])
    turns = next((name for name in ("conversations", "messages", "texts") if name in schema.names), None)
    if turns and turns not in texts:
        lines, unclear = [flow("conversations", turns)], []
    kind = "kind: vqa" if turns else _kind(lines)
    return [kind, "format: parquet", _patterns(tables, unclear), flow("image", image), *lines], unclear


def is_text(kind: pa.DataType, items: bool = True) -> bool:
    """Whether a column contains texts, also as categories, or lists of texts.

    >>> is_text(pa.dictionary(pa.int8(), pa.string())), is_text(pa.large_list(pa.string())), is_text(pa.list_(pa.int8()))
    (True, True, False)
    """
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type, items=False)
    if items and (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return is_text(kind.value_type, items=False)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def may_be_image(kind: pa.DataType) -> bool:
    """Whether a column can contain encoded images: bytes, {bytes, path}, or lists of these."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return may_be_image(kind.value_type)
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _json(place: ConfinedFolder, files: list[str]) -> Draft | None:
    """Drafts an entry for JSON or JSON lines: LLaVA's, or plain ones."""
    for file in files:
        if not file.endswith((".json", ".jsonl")):
            continue
        head = _head(place, file)
        unclear: list[str] = []
        if _is_chat(head):
            same = [other for other in files if other.endswith((".json", ".jsonl")) and _is_chat(_head(place, other))]
            said = FIRST_IMAGE.search(head)
            key, name = (said[1].decode(), str(json.loads(said[2]))) if said else ("image", "")
            more = [flow("image", key)] if key != "image" else []
            return [
                "kind: vqa", "format: llava", _splits(same, unclear),
                _images(place, files, unclear, list(_by_split(same)), name), *more,
            ], unclear  # fmt: skip
        row = _first_row(file, head)
        names = _texts_of(row)
        image = chosen(names, IMAGES)
        if image:
            ends = (".jsonl", ".json")
            same = [
                other for other in files if other.endswith(ends) and image in _first_row(other, _head(place, other))
            ]
            lines, unclear = _keys([name for name in names if name != image], unclear)
            where = _images(place, files, unclear, list(_by_split(same)), _first_text(row[image]))
            return [_kind(lines), _splits(same, unclear), where, flow("image", image), *lines], unclear
    return None


def _first_text(value: JsonValue) -> str:
    """Returns a text, or the first of a list of texts."""
    return str(value[0] if isinstance(value, list) and value else value)


def _head(place: ConfinedFolder, file: str) -> bytes:
    with place.fs.open(f"{place.root}/{file}", "rb") as stream:
        return cast(bytes, stream.read(HEAD))


def _is_chat(head: bytes) -> bool:
    return b'"conversations"' in head or b'"messages"' in head


def _first_row(file: str, head: bytes) -> JsonObject:
    """Returns the first object of JSON lines or of an array, {} if the file is neither."""
    if array := jsonl.ARRAY.match(head):
        try:
            value = JsonScanner(io.BytesIO(head[array.end() - 1 :])).value()[2]
        except BrokenJsonError:  # `head` ends before the first object does
            return {}
        return value if isinstance(value, dict) else {}
    return _object(head.lstrip().split(b"\n", 1)[0]) if file.endswith(".jsonl") else {}


def _object(data: bytes) -> JsonObject:
    try:
        return jsonl.parse(data)
    except RecordError:
        return {}
