"""Pixels become the bytes of an image once, at the size that a mixture asks for; and shards may hold WebP."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageOps

from fasttok.common.images import ORIENTATION, UndecodableError
from fasttok.errors import InputError
from mixtures.spec import IMAGE_FORMATS, ImageFormat, Resize
from pipelines.builder.resize import resized
from pipelines.common.encode_image import encode, versions
from pipelines.common.image_headers import check_header, format_of, image_size
from pipelines.look.row_counts import SourceCounts, add_pictures
from pipelines.look.row_summary import describe_image
from pipelines.shards.decode_images import ImageDecoder
from pipelines.shards.records import SCHEMA
from tests.pipelines.made_shards import robot_source, value

RNG = np.random.default_rng(20)


def scene(height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture, red to the right and blue to the bottom."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)
    pixels[..., 2] = np.linspace(0, 255, height)[:, None]
    return pixels


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("form", IMAGE_FORMATS)
def test_every_format_keeps_the_picture(form: ImageFormat) -> None:
    data = encode(scene(), form)
    assert (format_of(data).lower(), image_size(data), check_header(data, webp=True)) == (form, (64, 48), "")
    error = np.abs(pixels_of(data).astype(int) - scene())
    assert error.max() == 0 if form == "png" else error.mean() < 3
    assert encode(scene(), form) == data
    assert form == "png" or len(encode(scene(), form, quality=30)) < len(data)


def test_pixels_get_their_size_before_they_are_encoded_and_exactly_once() -> None:
    """The same filter and fit as for images that were encoded before: a PNG loses nothing on the way."""
    large = RNG.integers(0, 255, (90, 120, 3), dtype=np.uint8)
    for to in (Resize(40, 40, "pad"), Resize(40, 40, "inside"), Resize(30, 80, "stretch")):
        assert encode(large, "jpeg", 95, to) == resized(encode(large, "png"), to)[0]
    assert encode(large, resize=Resize(90, 120)) == encode(large)


def test_grey_of_16_bits_is_as_bright_as_grey_of_8() -> None:
    grey = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
    deep, plain = io.BytesIO(), io.BytesIO()
    Image.fromarray(grey).save(deep, "PNG")
    Image.fromarray((grey >> 8).astype(np.uint8)).save(plain, "PNG")
    images = ImageDecoder((24, 32)).decode([deep.getvalue(), plain.getvalue()]).pixels
    assert np.array_equal(images[0], images[1])
    assert resized(deep.getvalue(), Resize(24, 32)) == resized(plain.getvalue(), Resize(24, 32))


def test_reversed_channels_are_turned_and_views_are_welcome() -> None:
    assert encode(scene()[..., ::-1], bgr=True) == encode(scene())
    assert encode(scene()[::-1]) == encode(scene()[::-1].copy())


def test_what_is_no_image_is_refused() -> None:
    wrong: Any
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(InputError, match="expected \\(height, width, 3\\) uint8"):
            encode(wrong)
    with pytest.raises(InputError, match="unknown image format 'gif'"):
        encode(scene(), "gif")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="16384 x 1 pixels cannot be encoded as webp"):
        encode(np.zeros((1, 16384, 3), np.uint8), "webp")


def test_versions_name_what_decides_the_bytes() -> None:
    assert {"Pillow", "libjpeg-turbo", "libwebp", "PyAV", "libavcodec", "libswscale"} <= versions().keys()
    assert "PyAV" not in versions(video=False)


def webps() -> dict[str, bytes]:
    """WebP of each layout: lossy, lossless, and with metadata."""
    found = {}
    kinds: dict[str, dict[str, Any]] = {
        "VP8 ": {}, "VP8L": {"lossless": True}, "VP8X": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"},
    }  # fmt: skip
    for name, options in kinds.items():
        stream = io.BytesIO()
        Image.fromarray(scene(37, 53)).save(stream, "WEBP", **options)
        found[name] = stream.getvalue()
        assert found[name][12:16].decode() == name
    return found


@pytest.mark.parametrize("kind", ["VP8 ", "VP8L", "VP8X"])
def test_shards_may_hold_webp(kind: str) -> None:
    data = webps()[kind]
    assert (image_size(data), check_header(data, webp=True)) == ((53, 37), "")
    assert check_header(data) == "a WebP, neither JPEG nor PNG"  # source datasets hold none
    decoded = ImageDecoder().decode([data]).pixels[0]
    assert decoded.shape == (37, 53, 3)
    assert np.abs(decoded.astype(int) - scene(37, 53)).mean() < 4
    assert describe_image("wrist", data) == f"wrist 53x37 WebP {len(data):,} B"
    assert image_size(resized(data, Resize(20, 20, "pad"))[0]) == (20, 20)
    for cut in (13, 20, 29, len(data) // 2, len(data) - 1):
        assert "truncated" in check_header(data[:cut], webp=True)
    with pytest.raises(InputError, match=r"image 0.*"):
        ImageDecoder((8, 8)).decode([data[: len(data) // 2]])


@pytest.mark.parametrize(
    ("form", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG", {"restart_marker_blocks": 1}), ("MPO", {}), ("PNG", {})],
)
def test_notes_and_pictures_after_the_end_are_no_damage(form: str, options: dict[str, Any]) -> None:
    stream = io.BytesIO()
    more = {"save_all": True, "append_images": [Image.fromarray(scene()[::-1])]} if form == "MPO" else {}
    thumbnail = Image.Exif()
    thumbnail[0x010E] = "\xff\xd9" * 9
    Image.fromarray(scene()).save(stream, form, exif=thumbnail, **options, **more)
    data = stream.getvalue()
    for after in (b"", b"x" * 50, b"x" * 500, bytes(5000)):
        assert check_header(data + after) == ""
        assert ImageDecoder().decode([data + after]).pixels.shape == (1, *scene().shape)
    if form != "MPO":
        for cut in (len(data) // 2, len(data) - 20, len(data) - (2 if form == "JPEG" else 9)):
            assert "truncated" in check_header(data[:cut])


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_pictures_are_turned_as_they_are_shown(form: str, turn: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    stream = io.BytesIO()
    Image.fromarray(scene()).save(stream, form, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(stream.getvalue()))).convert("RGB"))
    found = ImageDecoder().decode([stream.getvalue()]).pixels[0]
    assert np.array_equal(found, expected)
    data, changed = resized(stream.getvalue(), Resize(24, 24, "inside"))
    small = np.asarray(Image.open(io.BytesIO(data)))
    assert changed
    assert small.shape == ((24, 18, 3) if turn > 4 else (18, 24, 3))
    assert np.abs(small - np.asarray(Image.fromarray(expected).resize(small.shape[1::-1])).astype(int)).mean() < 8
    assert Image.open(io.BytesIO(data)).getexif().get(ORIENTATION, 1) == 1
    assert resized(stream.getvalue(), Resize(64, 64, "inside")) == (stream.getvalue(), False)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_notes_about_the_turn_are_no_turn() -> None:
    stream = io.BytesIO()
    Image.fromarray(scene()).save(stream, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert ImageDecoder().decode([stream.getvalue()]).pixels.shape == (1, *scene().shape)


def test_a_webp_that_moves_is_no_picture() -> None:
    stream = io.BytesIO()
    Image.fromarray(scene()).save(stream, "WEBP", save_all=True, append_images=[Image.fromarray(scene()[::-1])])
    assert check_header(stream.getvalue(), webp=True) == "an animated WebP, not one picture"


def test_a_damaged_webp_cannot_be_resized() -> None:
    data = webps()["VP8 "]
    with pytest.raises(UndecodableError):
        resized(data[: len(data) // 2], Resize(20, 20, "pad"))


@pytest.mark.parametrize("kind", ["VP8 ", "VP8L", "VP8X"])
def test_statistics_of_shards_know_webp(kind: str) -> None:
    data = webps()[kind]
    fields = {field.name: [value(field, "red", 1, 6)] * 2 for field in SCHEMA}
    fields |= {"image/primary": [data, data], "image/wrist": [data, None]}
    batch = pa.record_batch([pa.array(fields[f.name], f.type) for f in SCHEMA], schema=SCHEMA)
    counts = SourceCounts(robot_source("red", 2, 6), {})
    add_pictures(batch, np.zeros(2, np.int64), [counts])
    assert counts.pictures["primary", "webp", 53, 37] == 2
