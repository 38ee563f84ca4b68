"""Makes the images of one record, for all sources that take steps of it.

Each video is decoded once, and each frame is encoded once for each form that the sources want.
"""

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
        resize: the size to give them; None to keep their size.
        encoding: format and quality for frames that are not encoded yet.
        bgr: whether the channels are stored reversed and must be put in order, as the image is resized anyway.
    """

    resize: Resize | None
    encoding: ImageEncoding
    bgr: bool

    def of(self, frame: Frame) -> "RowImage":
        """Returns a frame in this form."""
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
        data: bytes of the encoded image; None if there is no image.
        problem: why the image cannot be made; "" if nothing is wrong.
        encoded: whether the frame came as pixels.
        resized: whether an encoded image was resized, and so encoded again.
    """

    data: bytes | None
    problem: str = ""
    encoded: bool = False
    resized: bool = False


@dataclass(frozen=True)
class ImageWish:
    """The images of one camera that a source wants of a record.

    Attributes:
        camera: camera slot of the dataset.
        steps: (k,) int64 steps of the record, ascending.
        form: form of the images.
    """

    camera: str
    steps: NDArray[np.int64]
    form: ImageForm


def row_images(cameras: Mapping[str, Frames], wishes: Sequence[ImageWish]) -> list[list[RowImage]]:
    """Returns the images of each wish, in the order of its steps. For a camera that the record lacks, their data is None.

    Args:
        cameras: slot -> images of all steps of the record.
        wishes: wishes of all sources.
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
    """Yields exactly `count` frames, even if a reader gives more or fewer."""
    given = 0
    for frame in frames.read():
        if given < count:
            yield frame
        given += 1
    for _ in range(given, count):
        yield BadFrame("its reader ended early")
