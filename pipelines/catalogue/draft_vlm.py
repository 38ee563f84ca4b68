"""Drafts an entry for a folder of questions, captions or boxes, from the names of its files and a look into the first."""

import json
import re

import pyarrow.parquet as pq

from fasttok.common.stores import kind_at
from fasttok.episodes.features import Feature
from pipelines.common.image_headers import CLAIMS
from pipelines.vlm import webdataset
from pipelines.vlm.confined_folder import ConfinedFolder

MOST_FILES = 10_000  # files to list at most
PROMPT, TARGET = re.compile(r"question|prompt|instruction|query"), re.compile(r"answer|caption|label|text|response")
IMAGE = re.compile(r"^images?$|image|img|jpg")
HEAD = 1 << 20
Draft = tuple[list[str], list[str]]  # lines of YAML, what is not clear


def propose(directory: str) -> tuple[str, list[str]] | None:
    """Returns (YAML of a drafted entry, what is not clear) for a folder; None if no layout is recognised."""
    place = ConfinedFolder(directory)
    if kind_at(place.fs, place.root) != "directory":
        return None
    paths = place.fs.find(place.root, maxdepth=3)[:MOST_FILES]
    files = sorted(place.relative(path) for path in paths)
    for look in (_coco, _vqav2, _webdataset, _parquet, _json):
        found = look(place, files)
        if found:
            lines, unclear = found
            name = place.root.rsplit("/", 1)[-1]
            head = [f"# A draft from the files of {name}: check every line.", f"name: {json.dumps(name)}"]
            return "\n".join([*head, *lines, "license: ''"]) + "\n", unclear
    return None


def of_features(name: str, features: dict[str, Feature]) -> tuple[str, list[str]] | None:
    """Like `propose`, for a TFDS directory; None if its examples are episodes or have no image."""
    image = [key for key, f in features.items() if f.kind == "image" and not f.lengths]
    if any(key.startswith("steps/") for key in features) or not image:
        return None
    texts = [key for key, f in features.items() if f.dtype == "bytes" and f.kind != "image" and len(f.lengths) < 2]
    lines, unclear = _keys(texts, [])
    head = [f"# A draft from the features of {name}: check every line.", f"name: {name}", _kind(lines), "format: tfds",
            f"image: {image[0]}"]  # fmt: skip
    return "\n".join([*head, *lines, "license: ''"]) + "\n", unclear


def _kind(lines: list[str]) -> str:
    return "kind: vqa" if any(line.startswith("prompt:") for line in lines) else "kind: caption"


def _keys(names: list[str], unclear: list[str]) -> Draft:
    """Chooses the keys of the prompt and of the target."""
    prompt = next((name for name in names if PROMPT.search(name)), None)
    target = next((name for name in names if TARGET.search(name) and name != prompt), None)
    lines = [f"prompt: {json.dumps(prompt)}" if prompt else "fixed_prompt: caption en"]
    lines.append(f"target: {json.dumps(target)}" if target else "target: null")
    if not target:
        unclear.append(f"target: none of {', '.join(names) or 'no key'} looks like an answer or caption")
    if not prompt:
        unclear.append(
            f"prompt: none of {', '.join(names) or 'no key'} looks like a question; the draft gives one for all"
        )
    return lines, unclear


def _split(file: str) -> str:
    """Returns train, val or test, from a file's name; train if the name says none of them.

    >>> _split("annotations/captions_val2017.json"), _split("data.json")
    ('val', 'train')
    """
    found = re.search(r"train|val|test", file.rsplit("/", 1)[-1].lower())
    return found[0] if found else "train"


def _splits(files: list[str]) -> str:
    """Returns a YAML line with the first file of each split."""
    chosen: dict[str, str] = {}
    for file in files:
        chosen.setdefault(_split(file), file)
    return "splits: {" + ", ".join(f"{split}: {json.dumps(file)}" for split, file in chosen.items()) + "}"


def _patterns(files: list[str]) -> str:
    """Returns a YAML line with a file pattern for each split: runs of digits become a star."""
    chosen: dict[str, str] = {}
    for file in files:
        chosen.setdefault(_split(file), re.sub(r"\d+", "*", file))
    return "splits: {" + ", ".join(f"{split}: {json.dumps(file)}" for split, file in chosen.items()) + "}"


def _images(files: list[str], unclear: list[str]) -> str:
    """Returns a YAML line with the folder that contains most of the images."""
    tops: dict[str, int] = {}
    for file in files:
        if file.lower().endswith((".jpg", ".jpeg", ".png")):
            top = file.rsplit("/", 1)[0] if "/" in file else "."
            tops[top] = tops.get(top, 0) + 1
    if not tops:
        unclear.append("images: no folder of images was found")
        return "images: images"
    best = max(tops, key=lambda top: tops[top])
    if len(tops) > 1:
        unclear.append(f"images: took {best}, there are also {', '.join(sorted(set(tops) - {best})[:5])}")
    return f"images: {json.dumps(best)}"


def _coco(_place: ConfinedFolder, files: list[str]) -> Draft | None:
    for what, form, kind, more in (
        ("instances_", "coco_boxes", "vqa", "detect: all"),
        ("captions_", "coco_captions", "caption", "fixed_prompt: caption en"),
    ):
        found = [file for file in files if file.rsplit("/", 1)[-1].startswith(what) and file.endswith(".json")]
        if found:
            unclear: list[str] = []
            if what == "instances_" and any("/captions_" in f"/{file}" for file in files):
                unclear.append("there are captions, too: they need an entry of their own, with format: coco_captions")
            return [f"kind: {kind}", f"format: {form}", _splits(found), _images(files, unclear), more], unclear
    return None


def _vqav2(_place: ConfinedFolder, files: list[str]) -> Draft | None:
    questions = [file for file in files if file.endswith("_questions.json")]
    annotations = [file for file in files if file.endswith("_annotations.json")]
    if not questions or not annotations:
        return None
    unclear = ["image_name: taken to be COCO 2014's names"]
    template = 'image_name: "COCO_{split}2014_{image_id:012d}.jpg"'
    given = _splits(annotations).replace("splits:", "annotations:")
    kept = [file for file in questions if any(_split(file) == _split(other) for other in annotations)]
    return ["kind: vqa", "format: vqav2", _splits(kept), given, _images(files, unclear), template], unclear


def _webdataset(place: ConfinedFolder, files: list[str]) -> Draft | None:
    shards = [file for file in files if file.endswith(".tar")]
    if not shards:
        return None
    fs, unclear = place.fs, list[str]()
    with fs.open(f"{place.root}/{shards[0]}", "rb") as stream:
        group = next(webdataset.groups(webdataset.members(stream, fs.size(f"{place.root}/{shards[0]}"))), None)
        names = [name for name in (group.members if group else {}) if name not in CLAIMS and name != "json"]
        if group and "json" in group.members and group.members["json"].size < HEAD:
            stream.seek(group.members["json"].start)
            names += _texts(stream.read(group.members["json"].size))
    names = ["txt", *names] if "txt" in names else names
    lines, unclear = _keys(list(dict.fromkeys(names)), unclear)
    if "target: null" in lines and "txt" in names:
        lines = [line for line in lines if line != "target: null"] + ["target: txt"]
    return [_kind(lines), "format: webdataset", _patterns(shards), *lines], unclear


def _texts(data: bytes) -> list[str]:
    """Returns the keys of a JSON object whose values are texts or lists."""
    try:
        row = json.loads(data)
    except (ValueError, RecursionError):
        return []
    return [key for key, value in row.items() if isinstance(value, str | list)] if isinstance(row, dict) else []


def _parquet(place: ConfinedFolder, files: list[str]) -> Draft | None:
    tables = [file for file in files if file.endswith(".parquet")]
    if not tables:
        return None
    with place.fs.open(f"{place.root}/{tables[0]}", "rb") as stream:
        schema = pq.read_schema(stream)
    image = [name for name in schema.names if IMAGE.search(name) and str(schema.field(name).type) != "string"]
    if not image:
        return None
    texts = [
        name for name in schema.names if re.fullmatch(r"(list<\w+: )?(large_)?string>?", str(schema.field(name).type))
    ]
    lines, unclear = _keys(texts, [])
    turns = next((name for name in ("conversations", "messages", "texts") if name in schema.names), None)
    if turns and turns not in texts:
        lines, unclear = [f"conversations: {turns}"], []
    kind = "kind: vqa" if turns else _kind(lines)
    return [kind, "format: parquet", _patterns(tables), f"image: {json.dumps(image[0])}", *lines], unclear


def _json(place: ConfinedFolder, files: list[str]) -> Draft | None:
    """Drafts an entry for JSON or JSON lines: LLaVA's, or plain ones."""
    for file in files:
        if not file.endswith((".json", ".jsonl")):
            continue
        with place.fs.open(f"{place.root}/{file}", "rb") as stream:
            head = stream.read(HEAD)
        unclear: list[str] = []
        same = [other for other in files if other.rpartition(".")[2] == file.rpartition(".")[2]]
        if b'"conversations"' in head or b'"messages"' in head:
            return ["kind: vqa", "format: llava", _splits(same), _images(files, unclear)], unclear
        names = _texts(head.split(b"\n", 1)[0])
        image = [name for name in names if IMAGE.search(name)]
        if file.endswith(".jsonl") and image:
            lines, unclear = _keys([name for name in names if name not in image], unclear)
            where = _images(files, unclear)
            return [_kind(lines), _splits(same), where, f"image: {json.dumps(image[0])}", *lines], unclear
    return None
