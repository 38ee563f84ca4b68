"""Decodes images to pixels with threads: Pillow releases the GIL while it decodes and resizes."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common.images import UndecodableError, decoded, opened, resized, shown_size
from fasttok.errors import InputError, require
from pipelines.shards.batch import Batch

Pixels = NDArray[np.uint8]
Encoded = bytes | memoryview | None
AT_ONCE = 8  # images per task: they share its overhead, and no thread waits long for the last task


@dataclass(frozen=True)
class DecodedImages:
    """The images of one column.

    Attributes:
        pixels: (rows, height, width, 3) uint8, RGB (or as stored, for a source whose channels are reversed); absent ones are 0.
        present: (rows,) bool, whether a row has an image.
    """

    pixels: Pixels
    present: NDArray[np.bool_]


Started = tuple[DecodedImages, list[Future[None]]]  # the images, and the tasks that fill them


class ImageDecoder:
    """Decodes JPEG, PNG and WebP to one size, in order.

    Example:
        >>> decoder = ImageDecoder((224, 224))  # doctest: +SKIP
        >>> for batch, images in decoder.batches(reader.batches(256), ["image/primary"]):  # doctest: +SKIP
        ...     step(images["image/primary"].pixels, batch.array("action"))
    """

    def __init__(self, size: tuple[int, int] | None = None, draft: bool = False, workers: int | None = None) -> None:
        """Starts no thread yet.

        Args:
            size: (height, width) of the result; images of another size are resized (bilinear). None: all images of a column in a
                batch must have the same size.
            draft: whether the JPEG library decodes large images at 1/2, 1/4 or 1/8, not below `size`: about twice as fast from
                640 to 224 pixels. The library halves with a filter of its own, so pixels differ a little.
            workers: number of threads; None for the number of cores that this process may use.

        Raises:
            InputError: Pillow is not installed, or `draft` is given without `size`.
        """
        require("PIL.Image", "train", "decoding images")
        if draft and size is None:
            raise InputError("draft decodes near a size; give size=(height, width)")
        self.size = size
        self.draft = draft
        self.workers = workers or cores()
        self._pool: tuple[int, ThreadPoolExecutor] | None = None  # with its process id: threads do not survive a fork

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageDecoder, (self.size, self.draft, self.workers)

    def decode(self, images: Sequence[Encoded], names: Sequence[str] | None = None) -> DecodedImages:
        """Decodes images with all threads.

        Args:
            images: encoded images, None for an absent one.
            names: name of the sample of each image, for messages; None to number the images.

        Raises:
            InputError: an image is not JPEG, PNG or WebP, is damaged, too large, or of another size; the message names it.
        """
        return self._wait(self._start(images, names))

    def batches(
        self, batches: Iterable[Batch], columns: Sequence[str], ahead: int = 2
    ) -> Iterator[tuple[Batch, dict[str, DecodedImages]]]:
        """Yields each batch with the images of `columns`; decodes `ahead` batches beyond the one that it yields.

        Raises:
            InputError: as in `decode`.
        """
        waiting: deque[tuple[Batch, dict[str, Started]]] = deque()
        for batch in batches:
            names = batch["sample_id"] if "sample_id" in batch.data else None
            started = {column: self._start(batch.views(column), names) for column in columns}  # type: ignore[arg-type]
            waiting.append((batch, started))
            if len(waiting) > ahead:
                yield self._finished(*waiting.popleft())
        while waiting:
            yield self._finished(*waiting.popleft())

    def _finished(self, batch: Batch, started: dict[str, Started]) -> tuple[Batch, dict[str, DecodedImages]]:
        return batch, {column: self._wait(found) for column, found in started.items()}

    def _start(self, images: Sequence[Encoded], names: Sequence[str] | None) -> Started:
        from pipelines.common.pixels import copy_rgb  # compiled on import, so only those who decode wait for it

        height, width = self.size or self._size_of_first(images, names)
        present = np.array([image is not None for image in images], bool)
        out = DecodedImages(np.empty((len(images), height, width, 3), np.uint8), present)
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (os.getpid(), ThreadPoolExecutor(self.workers, thread_name_prefix="decode"))
        tasks = [
            self._pool[1].submit(self._some, copy_rgb, images, names, out.pixels, at)
            for at in range(0, len(images), AT_ONCE)
        ]
        return out, tasks

    @staticmethod
    def _wait(started: Started) -> DecodedImages:
        for task in started[1]:
            task.result()
        return started[0]

    def _some(
        self, copy_rgb: Any, images: Sequence[Encoded], names: Sequence[str] | None, out: Pixels, at: int
    ) -> None:
        for i in range(at, min(at + AT_ONCE, len(images))):
            data = images[i]
            if data is None:
                out[i] = 0
                continue
            size = (out.shape[2], out.shape[1])
            try:
                image = decoded(opened(data), near=size if self.draft else None)
            except UndecodableError as error:
                raise undecodable(i, names, error) from None
            if image.size != size and self.size is None:
                what = f"{image.size[0]} x {image.size[1]} pixels, the others {size[0]} x {size[1]}; give a size"
                raise undecodable(i, names, what)
            copy_rgb(resized(image, size, "bilinear"), out[i])

    def _size_of_first(self, images: Sequence[Encoded], names: Sequence[str] | None) -> tuple[int, int]:
        for i, data in enumerate(images):
            if data is not None:
                try:
                    width, height = shown_size(opened(data))
                except UndecodableError as error:
                    raise undecodable(i, names, error) from None
                return height, width
        return 0, 0


def cores() -> int:
    """Returns the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def undecodable(i: int, names: Sequence[str] | None, why: object) -> InputError:
    """Returns the error for an image that cannot be decoded."""
    which = f"image {i}" if names is None else f"the image of sample {names[i]}"
    return InputError(f"{which} cannot be decoded: {why}; check the shards with: fasttok-pipelines lint SHARDS")
