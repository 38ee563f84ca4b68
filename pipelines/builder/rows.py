"""Makes the rows of a shard from source records, column by column.

A row that cannot be made becomes a dead letter. It is never replaced by another row.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import compress, islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fasttok import ActionTokenizer
from fasttok.actions.chunks import chunks_at, run_ends
from fasttok.common.locations import has_locations
from fasttok.episodes import BadRecord, Where
from fasttok.errors import InputError
from mixtures.spec import ImageEncoding
from pipelines.builder import questions
from pipelines.builder.dead_letter import DeadLetter
from pipelines.builder.plan import BuildPlan, SourcePlan
from pipelines.builder.row_images import ImageForm, ImageWish, RowImage, row_images
from pipelines.builder.source_columns import NO_IDS, SourceColumns
from pipelines.builder.source_records import RecordReader, SourceRecord
from pipelines.builder.sources import ResolvedSource
from pipelines.common.random_bits import words

ENCODE_CHUNKS = 4096  # chunks that are encoded at once: limits the memory of the DCT's float64 copies


class RowMaker:
    """Makes the rows of one source in one shard."""

    def __init__(self, plan: SourcePlan, facts: ResolvedSource, tok: ActionTokenizer | None) -> None:
        self.plan, self.facts, self.tok = plan, facts, tok
        self.columns = SourceColumns(images={slot: [] for slot in facts.cameras})
        self.represent = facts.representation
        self.worded = bool(facts.questions or len(facts.prompts) > 1)

    def bits(self, first: int, frames: int) -> NDArray[np.uint64]:
        """Returns 64 random bits per frame, which choose its wording, (frames,) uint64; zeros if there is only one wording."""
        if not self.worded:
            return np.zeros(frames, np.uint64)
        return words(f"{self.plan.key}/words", first, first + frames)

    def wishes(self, record: SourceRecord | BadRecord, takes: NDArray[np.int64]) -> list[ImageWish]:
        """Returns wishes for the images that `add` will need of a record."""
        if isinstance(record, BadRecord) or self._problem(record, len(takes)) is not None:
            return []
        steps = np.flatnonzero(takes)
        located = self.facts.entry.kind != "robot" and has_locations(record.prompt, record.target)
        return [ImageWish(of, steps, self._form(of, located)) for _, of in self._slots(record)]

    def add(
        self,
        where: Where,
        record: SourceRecord | BadRecord,
        takes: NDArray[np.int64],
        bits: NDArray[np.uint64],
        images: Sequence[list[RowImage]],
    ) -> None:
        """Adds the selected frames of a record, repeated as planned, with the images that `wishes` asked for."""
        columns = self.columns
        planned = int(takes.sum())
        columns.planned += planned
        problem = self._problem(record, len(takes))
        if problem is not None or isinstance(record, BadRecord):
            reason, detail = problem or (record.reason, record.detail)  # type: ignore[union-attr]
            columns.rejected.append(self._letter(where, None, reason, detail, planned))
            return
        steps = np.flatnonzero(takes)
        ends = None if self.facts.entry.keep_ranges is None else run_ends(record.steps)
        scenes = questions.Scenes(self.facts.entry, record.prompt, record.action, record.proprio, ends)
        texts = [self._texts(record, scenes, step, int(bits[step])) for step in steps.tolist()]
        views, bad = self._images(record, images, len(steps))
        keep = np.array([text is not None and problem == "" for text, problem in zip(texts, bad, strict=True)], bool)
        for step, text, detail in zip(steps.tolist(), texts, bad, strict=True):
            if text is None or detail:
                reason, why = (
                    ("image", detail) if detail else ("question", "the episode has no instruction to ask about")
                )
                columns.rejected.append(self._letter(where, int(record.steps[step]), reason, why, int(takes[step])))
        kept = steps[keep]
        for slot, view in views.items():
            columns.images[slot] += compress(view, keep)
        for prompt, target in compress(texts, keep):  # type: ignore[misc]
            columns.prompt.append(prompt)
            columns.target.append(target)
        columns.answers += [record.answers] * len(kept)
        columns.times += takes[kept].tolist()
        name = self._relative(where.file)
        columns.place += [(name, where.offset, where.number, step) for step in record.steps[kept].tolist()]
        if self.facts.robot:
            self._numbers(record, kept, ends)

    def encode(self) -> None:
        """Encodes the chunks of all frames as FAST ids. If a chunk cannot be encoded, its rows become a dead letter."""
        columns = self.columns
        if not self.facts.robot or self.tok is None:
            return
        failed: dict[int, str] = {}
        at = 0
        for chunks in _blocks(columns.chunks, ENCODE_CHUNKS):
            try:
                columns.tokens += self._ids(chunks)
            except InputError:  # one bad chunk fails the whole batch: find out which
                for i, chunk in enumerate(chunks):
                    try:
                        columns.tokens += self._ids(chunk[None])
                    except InputError as error:
                        failed[at + i] = str(error)
                        columns.tokens.append(NO_IDS)
            at += len(chunks)
        for i, detail in failed.items():
            file, offset, episode, step = columns.place[i]
            columns.rejected.append(
                replace(
                    self._letter(Where(file, offset, 0, episode), step, "action", detail, columns.times[i]), file=file
                )
            )
            columns.times[i] = 0  # the frame stays in the columns, but becomes no row

    def _ids(self, chunks: NDArray[np.float32]) -> list[NDArray[np.int32]]:
        assert self.tok is not None
        encoded = self.tok.encode_report(chunks, embodiment=self.facts.embodiment)
        self.columns.clamped += int((encoded.clamped > 0).sum())
        return encoded.ids

    def _numbers(self, record: SourceRecord, steps: NDArray[np.int64], ends: NDArray[np.int64] | None) -> None:
        columns = self.columns
        horizon, length = self.facts.horizon, len(record.action)
        if not len(steps):
            return
        chunks = chunks_at(record.action, steps, horizon, self.facts.entry.action_encoding, ends)
        if self.represent is not None:
            chunks = self.represent(chunks, self.represent.reference(record.action, record.proprio, ends)[steps])
        columns.chunks.append(chunks)
        columns.action_steps.append(np.minimum(horizon, (length if ends is None else ends[steps]) - steps))
        columns.state.append(record.proprio[steps])

    def _texts(self, record: SourceRecord, scenes: questions.Scenes, step: int, bits: int) -> tuple[str, str] | None:
        """Returns (prompt, target) of a frame; None if its question has no answer."""
        facts = self.facts
        prompt, target = record.prompt, record.target
        if facts.questions:
            name = facts.questions[(bits >> 16) % len(facts.questions)]
            asked = questions.ask(name, bits, scenes.at(step))
            if asked is None:
                return None
            prompt, target = asked
        if facts.subtask:
            target = questions.subtask(scenes.at(step))
        if facts.prompts:
            prompt = facts.prompts[(bits >> 8) % len(facts.prompts)].replace("{prompt}", prompt)
        return prompt, target

    def _slots(self, record: SourceRecord) -> Sequence[tuple[str, str]]:
        """Returns (slot of the rows, slot of the dataset) of each camera."""
        return self.facts.taken or tuple((slot, slot) for slot in record.cameras)

    def _form(self, camera: str, located: bool) -> ImageForm:
        """Returns the form in which the rows store a camera's images; `located`: whether the row's text names places in them."""
        resize = self.facts.resize
        encoding = self.facts.encode or ImageEncoding(quality=resize.quality if resize else 95)
        if resize and located:
            resize = resize.without_edges
        return ImageForm(resize, encoding, bool(resize) and camera in self.facts.entry.bgr)

    def _images(
        self, record: SourceRecord, images: Sequence[list[RowImage]], count: int
    ) -> tuple[dict[str, list[bytes | None]], list[str]]:
        """Returns slot -> images of `count` frames, and what is wrong with each frame, "" for nothing."""
        views: dict[str, list[bytes | None]] = {}
        bad = [""] * count
        for (slot, of), own in zip(self._slots(record), images, strict=True):
            views[slot] = [picture.data for picture in own]
            self.columns.resized += sum(picture.resized for picture in own)
            self.columns.encoded += sum(picture.encoded for picture in own)
            for i, picture in enumerate(own):
                if picture.problem:
                    bad[i] = f"camera {of}: {picture.problem}"
        return views, bad

    def _problem(self, record: SourceRecord | BadRecord, frames: int) -> tuple[str, str] | None:
        """Returns (reason, detail) if a record could be read, but is not the one that was indexed; else None."""
        if isinstance(record, BadRecord):
            return None
        if len(record.action) != frames:
            return "changed", f"{len(record.action)} steps, the INDEX has {frames}; index again"
        dims = self.facts.entry.action_dim if self.facts.recorded else 0
        if record.action.shape[1] != dims:
            return "changed", f"action of {record.action.shape[1]} dims, the INDEX has {dims}; index again"
        return None

    def _letter(self, where: Where, step: int | None, reason: str, detail: str, rows: int) -> DeadLetter:
        return DeadLetter(
            source=self.facts.name,
            file=self._relative(where.file),
            offset=where.offset,
            episode=where.number,
            step=step,
            reason=reason,
            detail=detail,
            rows=rows,
        )

    def _relative(self, file: str) -> str:
        return relative(file, self.facts.directory)


def make_rows(
    plan: BuildPlan,
    facts: Sequence[ResolvedSource],
    tok: ActionTokenizer | None,
    groups: Sequence[pa.Table],
    index: str,
    done: Callable[[int, int], None],
) -> tuple[list[SourceColumns], int, int]:
    """Makes the rows of all sources in a shard. A record that several sources of a bundle take is read once for all of them.

    Args:
        plan: plan of the build.
        facts: sources of the build, in the plan's order.
        tok: tokenizer that encodes the actions; None for rows without FAST ids.
        groups: for each source, the table of its groups in the shard.
        index: path or URL of the INDEX.
        done: called after each record, with the number of its planned rows and of the bytes that were read.

    Returns:
        The columns of each source, the number of records that were read, and the number of bytes.

    Raises:
        InputError: the INDEX changed since the plan was made.
    """
    makers = [RowMaker(source, fact, tok) for source, fact in zip(plan.sources, facts, strict=True)]
    read = size = 0
    for bundle in sorted({source.bundle for source in plan.sources}):
        members = [i for i, source in enumerate(plan.sources) if source.bundle == bundle]
        together = [makers[i] for i in members]
        records = RecordReader(facts[members[0]], index)
        for file, row, count, first, frames in _union([groups[i] for i in members]):
            takes = [maker.plan.draws.takes(first, frames) for maker in together]
            bits = [maker.bits(first, frames) for maker in together]
            at = 0
            for indexed in records.rows(file, row, count):
                span = slice(at, at + indexed["steps"])
                at = span.stop
                planned = sum(int(take[span].sum()) for take in takes)
                if not planned:
                    continue
                where, length, record = records.load(indexed)
                read, size = read + 1, size + length
                taking = [
                    (maker, take[span], word[span])
                    for maker, take, word in zip(together, takes, bits, strict=True)
                    if take[span].any()
                ]
                _add(taking, where, record)
                done(planned, length)
            if at != frames:
                raise InputError(
                    f"{facts[members[0]].dataset}: the INDEX changed since the plan; build again with --overwrite"
                )
    for maker in makers:
        maker.encode()
    return [maker.columns for maker in makers], read, size


def _add(
    taking: Sequence[tuple[RowMaker, NDArray[np.int64], NDArray[np.uint64]]],
    where: Where,
    record: SourceRecord | BadRecord,
) -> None:
    """Adds the frames of one record to all sources that take some. An image that several need in the same form is made once."""
    wishes = [maker.wishes(record, takes) for maker, takes, _ in taking]
    asked = [wish for own in wishes for wish in own]
    images = iter(row_images(record.cameras, asked) if isinstance(record, SourceRecord) else [])
    for (maker, takes, bits), own in zip(taking, wishes, strict=True):
        maker.add(where, record, takes, bits, list(islice(images, len(own))))


def _union(tables: Sequence[pa.Table]) -> list[tuple[int, ...]]:
    """Returns (file, row, records, first, frames) of all groups in the tables, each once, in the order of their first frames."""
    columns = ("file", "row", "records", "first", "frames")
    groups = {
        row[3]: row for t in tables for row in zip(*[t.column(name).to_pylist() for name in columns], strict=True)
    }
    return [groups[first] for first in sorted(groups)]


def relative(file: str, directory: str) -> str:
    """Returns a source file's path relative to its dataset's directory, so that provenance does not depend on where that is.

    >>> relative("/data/toy/1.0.0/toy-train.tfrecord-00000-of-00001", "/data/toy/1.0.0")
    'toy-train.tfrecord-00000-of-00001'
    """
    return file.removeprefix(directory.rstrip("/")).lstrip("/")


def _blocks(parts: list[NDArray[np.float32]], most: int) -> "list[NDArray[np.float32]]":
    """Joins consecutive (k, T, D) arrays, until each has at least `most` chunks; the last one may have fewer."""
    joined: list[NDArray[np.float32]] = []
    waiting: list[NDArray[np.float32]] = []
    count = 0
    for part in parts:
        waiting.append(part)
        count += len(part)
        if count >= most:
            joined.append(np.concatenate(waiting))
            waiting, count = [], 0
    return joined + ([np.concatenate(waiting)] if waiting else [])
