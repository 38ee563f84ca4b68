"""Reads the questions of a dataset's folder, in any format that `fasttok-pipelines index` reads, without an INDEX."""

from collections.abc import Iterator
from dataclasses import dataclass

from fasttok.episodes import BadRecord
from fasttok.errors import InputError, unknown_name
from pipelines import vlm
from pipelines.index.directory_contents import check_images, contents_of
from pipelines.vlm import VlmRecord

__all__ = ["StoredQuestions", "VlmRecord", "stored_questions"]


@dataclass(frozen=True)
class StoredQuestions:
    """The questions of a split.

    Attributes:
        name: name of the dataset.
        records: the questions, in the order of the files: BadRecord for one that cannot be used.
        read: (path, offset, length) of an image -> (encoded bytes, "") or (b"", what is wrong).
    """

    name: str
    records: Iterator[VlmRecord | BadRecord]
    read: vlm.ReadImage

    def image(self, question: VlmRecord) -> bytes:
        """Reads the encoded image of a question again, so that not all images have to be kept.

        Raises:
            InputError: the image has changed since its question was read.
        """
        place = question.image
        data, problem = self.read(place.path, place.offset, place.length)
        if problem:
            raise InputError(f"{question.where.file}, record {question.where.number}: {problem}")
        return data


def stored_questions(directory: str, split: str) -> StoredQuestions:
    """Opens the questions of a split.

    Args:
        directory: path or URL of a dataset of questions, with its dataset.yaml.
        split: name of the split.

    Raises:
        InputError: the directory is no dataset of questions, has no such split, or does not fit its dataset.yaml.
    """
    contents = contents_of(directory)
    entry = contents.entry
    if entry.kind != "vqa":
        raise InputError(f"{directory} has kind {entry.kind}; expected questions (kind: vqa)")
    if split not in contents.sections:
        raise unknown_name("split", split, contents.sections, f"of {directory}")
    check_images(entry, directory, split)
    sources = [vlm.SourceFile(entry, directory, split, section.file) for section in contents.sections[split]]
    spans = [(source, span) for source in sources for span in vlm.ranges(source)]
    records = (record for source, span in spans for record in vlm.read(source, span))
    return StoredQuestions(contents.name, records, vlm.open_images(entry, directory))
