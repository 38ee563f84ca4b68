"""The record that every reader of questions and captions yields, and how it is made of a mapping of keys."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fasttok.common.names import is_unicode
from fasttok.episodes import BadRecord, Where
from fasttok.episodes.dataset_entry import DatasetEntry
from pipelines.vlm.values import FieldValue

MAX_TEXT = 1 << 20  # bytes of an annotation, or of a text
MOST_NUMBER = 1e15  # as a float has all digits of smaller whole numbers
PARTS = 1000  # records that one annotation may become: the k-th of annotation n has the number n * PARTS + k

Range = tuple[int, int | None, int]
"""First byte or row group, one past the last (None: to the end), and the number of the first record."""


@dataclass(frozen=True)
class SourceFile:
    """A file of a dataset's split, as its reader needs to know it.

    Attributes:
        entry: entry of the dataset.
        directory: folder or URL of the dataset.
        split: split of the dataset.
        file: path or URL of the file.
    """

    entry: DatasetEntry
    directory: str
    split: str
    file: str


@dataclass(frozen=True)
class ImagePlace:
    """Where an encoded image is.

    Attributes:
        path: path of the file, relative to the dataset's directory.
        offset: first byte in that file: 0 for an image file, the member's data in a tar file, the record in a TFRecord file. For
            Parquet, the number of the row in the file.
        length: bytes of the image; in a TFRecord file, bytes of the record.
    """

    path: str
    offset: int
    length: int


@dataclass(frozen=True)
class VlmRecord:
    """One question or caption.

    Attributes:
        where: the annotation's place; `number` is unique in its file.
        id: the record's own id, or its number if it has none.
        image: the image's place.
        data: the encoded image as stored.
        prompt: question, or fixed prompt of a caption.
        target: answer or caption.
        answers: all answers that people gave, if there are several; without a target of its own, `target` is the most common.
        left_out: (what, how many) pairs of things that were left out, such as crowd boxes.
        topic: kind of question, such as VQAv2's answer_type `yes/no`; "" if the record does not say it. No INDEX stores it.
    """

    where: Where
    id: str
    image: ImagePlace
    data: bytes
    prompt: str
    target: str
    answers: tuple[str, ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()
    topic: str = ""


@dataclass(frozen=True)
class Unwanted(BadRecord):
    """A sound record with nothing to learn from, such as an image without boxes: it is filtered, not rejected."""


class RecordError(Exception):
    """Says why a record cannot be used.

    Attributes:
        reason: a short word, by which records are counted.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def rejected(where: Where, error: RecordError) -> BadRecord:
    """Returns the dead letter of an error."""
    return BadRecord(where, error.reason, str(error))


def shown(name: object) -> str:
    """Makes a name from data short and printable."""
    text = repr(name)
    text = text if len(text) <= 200 else text[:197] + "..."
    return text.encode(errors="backslashreplace").decode()


def text_of(value: object, key: object) -> str:
    """Returns a text, without blanks around it.

    Raises:
        RecordError: the text is missing, empty, too long, or not Unicode.
    """
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            raise RecordError("language", f"key {key!r} is not UTF-8: {error}") from None
    if not isinstance(value, str) or not value.strip():
        raise RecordError("language", f"key {key!r} is missing or not a text")
    if len(value) > MAX_TEXT:
        raise RecordError("language", f"key {key!r} has {len(value):,} characters, more than {MAX_TEXT:,}")
    if not is_unicode(value):
        raise RecordError("language", f"key {key!r} contains half a surrogate pair, which is no text")
    return value.strip()


def topic_of(value: object) -> str:
    """Returns a question's kind, "" for a value that is no text."""
    return value if isinstance(value, str) else ""


def answer_of(value: object, key: object) -> str:
    """Returns an answer: a text, or a number as a text, as TallyQA has `"answer": 3`. A whole number has no point.

    Raises:
        RecordError: as `text_of`; the number is not finite.

    >>> answer_of("two", "answer"), answer_of(2, "answer"), answer_of(2.0, "answer"), answer_of(0.5, "answer")
    ('two', '2', '2', '0.5')
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST_NUMBER:
        value = repr(int(value) if value == int(value) else value)
    return text_of(value, key)


def texts_of(value: object, key: object) -> tuple[str, ...]:
    """Returns a list of answers, or the "answer" of each mapping in a list, as VQAv2 has them.

    Raises:
        RecordError: the value is not a list, is empty, or contains anything else.
    """
    if not isinstance(value, list | tuple) or not value:
        raise RecordError("language", f"key {key!r} is missing or not a list of texts")
    return tuple(answer_of(item.get("answer") if isinstance(item, Mapping) else item, key) for item in value)


def most_common(answers: Iterable[str], preferred: str = "") -> str:
    """Returns the most common answer; of several such answers the preferred one, or else the first.

    >>> most_common(["two", "2", "2", "two"]), most_common(["two", "2", "2", "two"], "2"), most_common("aab", "b")
    ('two', '2', 'a')
    """
    counts = Counter(answers)
    most = max(counts.values())
    return preferred if counts.get(preferred) == most else next(a for a, n in counts.items() if n == most)


def texts(entry: DatasetEntry, row: Mapping[str, FieldValue]) -> tuple[str, str, tuple[str, ...]]:
    """Returns (prompt, target, answers) of a mapping, by the keys that the entry names.

    Raises:
        RecordError: one of them is missing or is not a text.
    """
    prompt = entry.fixed_prompt.strip() if entry.prompt is None else text_of(row.get(entry.prompt), entry.prompt)
    answers = texts_of(row.get(entry.answers), entry.answers) if entry.answers else ()
    value = row.get(entry.target) if entry.target else None
    target = ""
    if isinstance(value, list | tuple):
        given = texts_of(value, entry.target)
        target, answers = most_common(given), answers or given
    elif entry.target and (value is not None or not answers):
        target = answer_of(value, entry.target)
    return prompt, target or most_common(answers), answers


def id_of(row: Mapping[str, FieldValue], key: str, number: int) -> str:
    """Returns a record's own id, or its number if it has none."""
    value = row.get(key)
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    usable = isinstance(value, str | int) and not isinstance(value, bool)
    text = str(value)[:MAX_TEXT] if usable and not (isinstance(value, int) and value.bit_length() > 4096) else ""
    return text if text and is_unicode(text) else str(number)
