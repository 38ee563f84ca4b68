"""Reads LLaVA-style conversations: a JSON array or JSON lines, and a folder of images.

Each human/gpt pair of turns becomes a record of its own: the k-th pair of conversation n has the number n * PARTS + k. Its
prompt does not contain earlier turns. `turns: first` keeps only the first pair of each conversation, for data whose later
questions make no sense by themselves. `<image>` is removed from the prompt, as the image has its own place in a row.
Conversations without an image are filtered; those with several images are rejected.
"""

from collections.abc import Iterator
from dataclasses import replace

from fasttok.common import stores
from fasttok.episodes import BadRecord, Where
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.errors import InputError
from pipelines.vlm import jsonl
from pipelines.vlm.image_files import ImageFiles
from pipelines.vlm.record import (
    PARTS,
    ImagePlace,
    Range,
    RecordError,
    SourceFile,
    Unwanted,
    VlmRecord,
    answer_of,
    id_of,
    rejected,
    shown,
    text_of,
)
from pipelines.vlm.values import JsonObject, JsonValue

MARKER = "<image>"
ASKS, ANSWERS = ("human", "user"), ("gpt", "assistant")
ASIDE = ("system",)


def ranges(source: SourceFile) -> list[Range]:
    """Cuts the file into ranges of conversations.

    Raises:
        InputError: it is neither an array nor JSON lines.
    """
    with stores.open_file(source.file) as stream:
        start = stream.read(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start not in (b"[", b"{"):
        raise InputError(f"{source.file}: expected a JSON array or JSON lines, got a file that begins with {start!r}")
    return jsonl.ranges(source)


def read(source: SourceFile, span: Range) -> Iterator[VlmRecord | BadRecord]:
    """Yields the records of a range of conversations."""
    images = ImageFiles(source.directory, source.entry.images.format(split=source.split))
    for where, row in jsonl.rows(source.file, span):
        if isinstance(row, RecordError):
            yield rejected(replace(where, number=where.number * PARTS), row)
        else:
            yield from _records(source.entry, images, where, row)


def _records(entry: DatasetEntry, images: ImageFiles, where: Where, row: JsonObject) -> Iterator[VlmRecord | BadRecord]:
    start = replace(where, number=where.number * PARTS)
    try:
        name = row.get(entry.image)
        if name is None or name == [] or name == "":
            if shows_image(conversation(row)):
                raise RecordError(
                    "image", f"key {entry.image!r} is missing, and a turn has an image_url; write its file's name there"
                )
            yield Unwanted(start, "no image", f"key {entry.image!r} is missing")
            return
        if isinstance(name, list):
            if len(name) != 1:
                raise RecordError("image", f"{len(name)} images, a row has one")
            row = {**row, entry.image: name[0]}
        found = pairs(conversation(row))
    except RecordError as error:
        yield rejected(start, error)
        return
    for turn, (ask, answer) in enumerate(found if entry.turns == "each" else found[:1]):
        place = replace(start, number=start.number + turn)
        try:
            path, data = images.read(jsonl.image_name(row, entry.image))
            prompt, target = question(ask), answer_of(answer, "gpt")
            name = id_of(row, entry.id, where.number)
            yield VlmRecord(place, f"{name}/{turn}", ImagePlace(path, 0, len(data)), data, prompt, target)
        except RecordError as error:
            yield rejected(place, error)


def conversation(row: JsonObject) -> JsonValue:
    """Returns a row's turns: `conversations`, or `messages` as chat data calls them."""
    turns = row.get("conversations")
    return row.get("messages") if turns is None else turns


def question(ask: object) -> str:
    """Returns a human turn without the image's marker.

    Raises:
        RecordError: the turn contains nothing else.
    """
    return text_of(ask.replace(MARKER, "") if isinstance(ask, str) else ask, "human")


def pairs(turns: object) -> list[tuple[object, object]]:
    """Returns the (question, answer) pairs of a conversation, in order.

    A turn is {from, value} or {role, content}, or a whole pair is {user, assistant}; system turns are left out. A content may be
    a list of parts, {type: text, text}, {type: image} or {type: image_url}, of which the texts count.

    Raises:
        RecordError: it is no list of such turns, the two roles do not alternate, or there are no pairs or more than `PARTS`.
    """
    if not isinstance(turns, list | tuple) or not turns:
        raise RecordError("conversation", "no list of turns under 'conversations' or 'messages'")
    found: list[tuple[object, object]] = []
    open_question: list[object] = []
    for turn in turns:
        if not isinstance(turn, dict):
            raise RecordError("conversation", f"a turn is a {type(turn).__name__}, expected an object")
        # Tables of several kinds of turns have nulls for the keys of the others.
        turn = {key: value for key, value in turn.items() if value is not None}
        if "user" in turn and "assistant" in turn:
            found.append((turn["user"], turn["assistant"]))
            continue
        role, value = turn.get("from", turn.get("role")), _said(turn.get("value", turn.get("content")))
        if role in ASIDE and not open_question:
            continue
        if role not in (ANSWERS if open_question else ASKS):
            raise RecordError(
                "conversation", f"a turn of {shown(role)}, expected {'gpt' if open_question else 'human'}"
            )
        if open_question:
            found.append((open_question.pop(), value))
        else:
            open_question.append(value)
    if open_question or not found:
        raise RecordError("conversation", "a question without an answer")
    if len(found) > PARTS:
        raise RecordError("conversation", f"{len(found)} pairs of turns, more than {PARTS}")
    return found


def shows_image(turns: object) -> bool:
    """Whether a turn's content has an image of its own, as {type: image_url, image_url} of chat data.

    >>> shows_image([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "0.jpg"}}]}])
    True
    """
    found = [turn.get("content") for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    parts = [part for content in found if isinstance(content, list) for part in content]
    return any(isinstance(part, dict) and part.get("type") == "image_url" for part in parts)


def _said(value: object) -> object:
    """Returns the texts of a list of parts, joined; any other value as it is."""
    parts = value if isinstance(value, list | tuple) else ()
    texts = [
        part.get("text") or ""
        for part in parts
        if isinstance(part, dict) and part.get("type") in ("text", "image", "image_url")
    ]
    if not parts or len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
        return value
    return "".join(texts)
