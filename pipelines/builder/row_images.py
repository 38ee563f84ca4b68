"""The images of one record for all sources that take steps of it: each video is decoded once, each frame encoded once a wish."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasttok.common.images import UndecodableError
from fasttok.episodes.frames import BadFrame, Frame, Frames
from mixtures.spec import ImageEncoding, Resize
from pipelines.builder.resize import resized
from pipelines.common.encode_image import encode


@dataclass(frozen=True)
class ImageForm:
    """How a source wants the images of a camera.

    Attributes:
        resize: None for the size that they have.
        encoding: of frames that are not encoded yet.
        bgr: whether the channels are stored reversed and must be turned, as the image is resized anyway.
    """

    resize: Resize | None
    encoding: ImageEncoding
    bgr: bool

    def of(self, frame: Frame) -> "RowImage":
        """A frame in this form."""
        if isinstance(frame, BadFrame):
            return RowImage(None, frame.detail)
        try:
            if not isinstance(frame, bytes):
                form, quality = self.encoding.format, self.encoding.quality
                return RowImage(
                    encode(frame, format=form, quality=quality, resize=self.resize, bgr=self.bgr), encoded=True
                )
            if self.resize is None:
                return RowImage(frame)
            data, changed = resized(frame, self.resize, self.bgr)
            return RowImage(data, resized=changed)
        except UndecodableError as error:
            return RowImage(None, f"cannot be decoded: {error}")


@dataclass(frozen=True)
class RowImage:
    """An image of a row.

    Attributes:
        data: encoded; None if there is none.
        problem: why it cannot be made, "" for nothing.
        encoded: whether it came as pixels.
        resized: whether it was encoded again.
    """

    data: bytes | None
    problem: str = ""
    encoded: bool = False
    resized: bool = False


@dataclass(frozen=True)
class ImageWish:
    """The images of one camera that a source wants of a record.

    Attributes:
        camera: slot of the dataset.
        steps: (k,) ascending.
        form: how.
    """

    camera: str
    steps: NDArray[np.int64]
    form: ImageForm


def row_images(cameras: Mapping[str, Frames], wishes: Sequence[ImageWish]) -> list[list[RowImage]]:
    """For each wish its images, in the order of its steps; a camera that the record lacks has none.

    Args:
        cameras: slot -> images of all steps of the record.
        wishes: of all sources.
    """
    found: list[list[RowImage]] = [[] for _ in wishes]
    for camera in dict.fromkeys(wish.camera for wish in wishes):
        asked = [i for i, wish in enumerate(wishes) if wish.camera == camera]
        frames = cameras.get(camera)
        if frames is None:
            for i in asked:
                found[i] = [RowImage(None)] * len(wishes[i].steps)
            continue
        steps = np.unique(np.concatenate([wishes[i].steps for i in asked]))
        wanted = [np.isin(steps, wishes[i].steps).tolist() for i in asked]
        for at, frame in enumerate(_all(frames.take(steps), len(steps))):
            made: dict[ImageForm, RowImage] = {}
            for i, wants in zip(asked, wanted, strict=True):
                if wants[at]:
                    form = wishes[i].form
                    if form not in made:
                        made[form] = form.of(frame)
                    found[i].append(made[form])
    return found


def _all(frames: Frames, count: int) -> Iterator[Frame]:
    """So many frames, whatever a reader gives."""
    given = 0
    for frame in frames.read():
        if given < count:
            yield frame
        given += 1
    for _ in range(given, count):
        yield BadFrame("its reader ended early")
