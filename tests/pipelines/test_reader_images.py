"""Decoding by threads gives what Pillow gives, in order, and names what cannot be decoded."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from fasttok.errors import InputError
from pipelines.common.pixels import ONE_BLOCK, copy_rgb
from pipelines.shards import ShardReader
from pipelines.shards.batch import Batch, ReadState
from pipelines.shards.columns import Column
from pipelines.shards.decode_images import ImageDecoder
from tests.chain import Chain


def encoded(seed: int, size: tuple[int, int] = (40, 30), kind: str = "jpeg", mode: str = "RGB") -> bytes:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    stream = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).convert(mode).save(stream, kind)
    return stream.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_threads_give_what_pillow_gives_in_order() -> None:
    images: list[Any] = [encoded(i, kind=("jpeg", "png")[i % 2], mode=("RGB", "L")[i % 3 == 0]) for i in range(67)]
    expected = [by_pillow(image) for image in images]
    images[5], expected[5] = None, np.zeros((30, 40, 3), np.uint8)
    images[6] = memoryview(images[6])
    for workers in (1, 4):
        found = ImageDecoder(workers=workers).decode(images)
        assert (found.pixels == np.stack(expected)).all()
        assert found.present.tolist() == [i != 5 for i in range(67)]


def test_another_size_is_pillows_bilinear() -> None:
    images = [encoded(0), encoded(1, (64, 80)), encoded(2, (16, 12))]
    found = ImageDecoder((12, 16)).decode(images).pixels
    for image, pixels in zip(images, found, strict=True):
        resized = Image.open(io.BytesIO(image)).resize((16, 12), Image.Resampling.BILINEAR)
        assert (pixels == np.asarray(resized)).all()


@pytest.mark.parametrize("side", [1, 7, 2100])  # the last is more than Pillow lends in one piece
def test_pixels_are_copied_as_they_are(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.open(io.BytesIO(encoded(0, (side, side + 1))))
    for block in (ONE_BLOCK, 0):
        monkeypatch.setattr("pipelines.common.pixels.ONE_BLOCK", block)
        out = np.zeros((side + 1, side, 3), np.uint8)
        copy_rgb(image, out)
        assert (out == np.asarray(image)).all()


def test_draft_decodes_near_the_size() -> None:
    image = encoded(3, (640, 480))
    near = ImageDecoder((60, 80), draft=True).decode([image]).pixels[0]
    exact = ImageDecoder((60, 80)).decode([image]).pixels[0]
    assert near.shape == (60, 80, 3)
    assert np.abs(near.astype(int) - exact.astype(int)).mean() < 4


def test_batches_come_in_order_with_their_images(chain: Chain) -> None:
    reader = ShardReader(str(chain.shards))
    decoder = ImageDecoder((64, 64), workers=2)
    columns = ["image/primary", "image/wrist"]
    plain = list(reader.batches(64, epochs=1))
    pairs = list(decoder.batches(reader.batches(64, epochs=1, workers=2), columns))
    assert len(pairs) == len(plain) == 11
    for before, (batch, images) in zip(plain, pairs, strict=True):
        assert batch["sample_id"] == before["sample_id"]
        for column in columns:
            for data, pixels, present in zip(
                before[column], images[column].pixels, images[column].present, strict=True
            ):
                assert present == (data is not None)
                assert (pixels == (by_pillow(data) if present else 0)).all()


def test_what_cannot_be_decoded_is_named() -> None:
    good = encoded(0)
    bomb = bytearray(encoded(0, kind="png"))
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    gif = io.BytesIO()
    Image.new("RGB", (4, 4)).save(gif, "gif")
    for bad in (b"", b"no image", good[: len(good) // 2], bytes(bomb), gif.getvalue()):
        with pytest.raises(InputError, match="image 3 cannot be decoded"):
            ImageDecoder((30, 40)).decode([good, good, good, bad])
    with pytest.raises(InputError, match="give a size"):
        ImageDecoder().decode([good, encoded(1, (16, 16))])
    with pytest.raises(InputError, match="draft"):
        ImageDecoder(draft=True)
    offsets = np.array([0, len(good), len(good) + 3])
    data = {
        "sample_id": Column(pa.string(), np.frombuffer(b"ab", np.uint8), np.array([0, 1, 2])),
        "image/primary": Column(pa.binary(), np.frombuffer(good + b"bad", np.uint8), offsets),
    }
    with pytest.raises(InputError, match="sample b cannot"):
        list(ImageDecoder((8, 8)).batches([Batch(data, ReadState("", 2))], ["image/primary"]))
    assert ImageDecoder().decode([None, None]).pixels.shape == (2, 0, 0, 3)


def test_the_import_of_before_the_folders_still_works() -> None:
    from pipelines.decode_images import ImageDecoder as copied
    from pipelines.shards import ImageDecoder as documented

    assert copied is documented
