"""Reads VQAv2: a file of questions, a file of annotations, and images named after their id.

The target is the most common of the ten answers. If several are equally common, it is `multiple_choice_answer` if that is one
of them, else the first. All answers are kept. A process reads the annotations once for all of its jobs, to learn where they are
(24 bytes of memory each).
"""

from collections.abc import Iterator
from functools import lru_cache

from fasttok.episodes import BadRecord, Where
from fasttok.episodes.dataset_entry import DatasetEntry
from pipelines.common.files import file_version, join
from pipelines.vlm import coco, json_stream
from pipelines.vlm.image_files import ImageFiles
from pipelines.vlm.object_table import ObjectTable, object_table
from pipelines.vlm.record import (
    ImagePlace,
    Range,
    RecordError,
    SourceFile,
    VlmRecord,
    answer_of,
    id_of,
    most_common,
    rejected,
    shown,
    text_of,
    texts_of,
    topic_of,
)
from pipelines.vlm.values import JsonObject

QUESTIONS_PER_JOB = 50_000


def ranges(source: SourceFile) -> list[Range]:
    """Cuts the questions into ranges."""
    return json_stream.cut(source.file, "questions", QUESTIONS_PER_JOB)


def annotations_file(source: SourceFile) -> str:
    """Returns the path of the annotations of a split."""
    return join(source.directory, source.entry.annotations[source.split])


@lru_cache(maxsize=2)
def annotations(file: str, _version: str) -> ObjectTable:
    """Returns a table of the annotations of a file, by the id of their question."""
    rows = []
    try:
        for element in json_stream.walk(file):
            if element.key == "annotations" and isinstance(element.value, dict):
                number = element.value.get("question_id")
                if coco.is_id(number):
                    rows.append((number, element.where.offset, element.where.length))
    except json_stream.BrokenJsonError:  # questions with annotations after the fault are rejected one by one
        pass
    return object_table(file, rows)


def read(source: SourceFile, span: Range) -> Iterator[VlmRecord | BadRecord]:
    """Yields the records of a range of questions."""
    file = annotations_file(source)
    table = annotations(file, file_version(file))
    images = ImageFiles(source.directory, source.entry.images.format(split=source.split))
    for where, row in coco.objects(source, span):
        yield rejected(where, row) if isinstance(row, RecordError) else _record(source, table, images, where, row)


def _record(
    source: SourceFile, table: ObjectTable, images: ImageFiles, where: Where, row: JsonObject
) -> VlmRecord | BadRecord:
    try:
        prompt = text_of(row.get("question"), "question")
        number, image = row.get("question_id"), row.get("image_id")
        if not coco.is_id(number):
            raise RecordError("language", f"question_id is {shown(number)}, expected an integer")
        annotation = table.find(number, ("answers", "multiple_choice_answer", "answer_type"))
        if annotation is None:
            raise RecordError("language", f"question {shown(number)} has no annotation")
        target, answers = answer(annotation)
        if not coco.is_id(image):
            raise RecordError("image", f"image_id is {shown(image)}, expected an integer")
        path, data = images.read(image_name(source.entry, source.split, image))
    except RecordError as error:
        return rejected(where, error)
    name, topic = id_of(row, "question_id", where.number), topic_of(annotation.get("answer_type"))
    return VlmRecord(where, name, ImagePlace(path, 0, len(data)), data, prompt, target, answers, topic=topic)


def answer(annotation: JsonObject) -> tuple[str, tuple[str, ...]]:
    """Returns (the target, all answers) of an annotation.

    Raises:
        RecordError: it has no answers, or one that is not a text.
    """
    preferred = annotation.get("multiple_choice_answer")
    if not annotation.get("answers"):
        return answer_of(preferred, "multiple_choice_answer"), ()
    answers = texts_of(annotation["answers"], "answers")
    return most_common(answers, "" if preferred is None else str(preferred).strip()), answers


def image_name(entry: DatasetEntry, split: str, image: int) -> str:
    """Returns an image's file name by its id.

    Raises:
        RecordError: the template does not fit this id.
    """
    try:
        return entry.image_name.format(split=split, image_id=image)
    except (ValueError, OverflowError) as error:
        raise RecordError("image", f"image_id {image}: {error}") from None
