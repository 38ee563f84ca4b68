"""Frames of videos by their timestamps: each step gets the frame that was recorded at its time, whatever codec and container."""

import struct
import sys
import weakref
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from fasttok.episodes.frames import BadFrame
from fasttok.errors import InputError
from pipelines.recordings import video, video_decoder, video_header
from pipelines.recordings.video_decoder import Picture
from tests.pipelines.recordings.made_videos import CODECS, FPS, STEADY, drawn, frames_of, numbers, write_video

MP4_OPTIONS = (
    "movflags=frag_keyframe+empty_moov",
    "movflags=faststart",
    "use_editlist=0",
    "movflags=negative_cts_offsets",
)
UNSTEADY = np.cumsum(np.random.default_rng(0).choice([1 / 30, 1 / 60, 1 / 15, 0.2], 60))


def sound(path: Path, times: Any, first: int = 0) -> None:
    """Every step has its own frame, and the header alone raises no doubt."""
    frames = frames_of(path, times)
    assert frames.check() == ""
    assert numbers(frames) == list(range(first, first + len(times)))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("codec", CODECS)
def test_every_step_gets_its_frame(codec: str, suffix: str, tmp_path: Path) -> None:
    if (codec, suffix) == ("ffv1", ".mp4"):
        pytest.skip("MP4 holds no FFV1")
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    for i, times in enumerate((STEADY, UNSTEADY, STEADY + 5.0)):
        path = write_video(tmp_path / f"{i}{suffix}", times, codec, pixel_format=pixels)
        sound(path, times)
        sound(path, times[25:40], first=25)  # an episode of many in this file
        assert numbers(frames_of(path, times).take(np.array([3, 4, 30, 59]))) == [3, 4, 30, 59]


@pytest.mark.parametrize("codec", ["h264", "h264_b", "hevc_b", "av1", "mpeg4_b"])
@pytest.mark.parametrize("option", MP4_OPTIONS)
def test_however_the_container_was_written(codec: str, option: str, tmp_path: Path) -> None:
    """Without an edit list, the first of reordered frames is shown late: the lag is no time of recording."""
    options = dict([option.split("=")])
    sound(write_video(tmp_path / "a.mp4", STEADY, codec, container_options=options), STEADY)
    if option in ("movflags=faststart", "movflags=negative_cts_offsets"):
        sound(write_video(tmp_path / "b.mp4", UNSTEADY, codec, container_options=options), UNSTEADY)


@pytest.mark.parametrize("codec", ["h264", "h264_b", "hevc_b", "av1", "mpeg4", "vp9"])
def test_many_episodes_in_a_file_with_key_frames_far_apart(codec: str, tmp_path: Path) -> None:
    times = np.arange(600) / FPS
    path = write_video(tmp_path / "a.mp4", times, codec, gop=250)
    for start in (0, 1, 249, 250, 251, 480, 599):
        stop = min(start + 40, 600)
        sound(path, times[start:stop], first=start)
        jitter = np.random.default_rng(start).uniform(-1e-4, 1e-4, stop - start)  # tables hold float32
        sound(path, times[start:stop] + np.where(times[start:stop] > 0, jitter, 0), first=start)


@pytest.mark.parametrize(
    ("codec", "pixels", "suffix"),
    [
        ("h264", "yuv444p", ".mp4"), ("h264", "yuvj420p", ".mp4"), ("h264", "yuv420p10le", ".mp4"), ("h264", "yuv422p", ".mp4"),
        ("h264", "gray", ".mp4"), ("hevc", "yuv420p10le", ".mp4"), ("hevc", "gbrp", ".mp4"), ("av1", "yuv420p10le", ".mp4"),
        ("vp9", "yuva420p", ".mp4"), ("ffv1", "bgr0", ".mkv"), ("ffv1", "rgb48le", ".mkv"), ("ffv1", "rgba64le", ".mkv"),
    ],
)  # fmt: skip
def test_pixel_formats(codec: str, pixels: str, suffix: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"a{suffix}", STEADY[:20], codec, pixel_format=pixels)
    sound(path, STEADY[:20])
    for i, frame in enumerate(frames_of(path, STEADY[:20]).read()):
        assert isinstance(frame, np.ndarray)
        assert (frame.dtype.name, frame.shape, frame.flags.c_contiguous) == ("uint8", (64, 96, 3), True)
        assert np.abs(frame.astype(int) - drawn(i)).mean() < 16


@pytest.mark.parametrize(("codec", "pixels"), [("h264", "yuv444p"), ("av1", "yuv420p"), ("vp9", "yuv420p")])
def test_odd_sizes(codec: str, pixels: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", STEADY[:12], codec, size=(67, 101), pixel_format=pixels)
    sound(path, STEADY[:12])
    assert {np.asarray(frame).shape for frame in frames_of(path, STEADY[:12]).read()} == {(67, 101, 3)}


@pytest.mark.parametrize("codec", CODECS)
def test_pixels_are_those_of_pyav_alone_whatever_the_threads(codec: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", STEADY, codec, pixel_format="yuvj420p" if codec == "mjpeg" else "yuv420p")
    ours = list(frames_of(path, STEADY).read())
    for threads in (1, 2):
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.thread_count = threads
            container.streams.video[0].codec_context.thread_type = "AUTO"
            theirs = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert all(np.array_equal(np.asarray(a), b) for a, b in zip(ours, theirs, strict=True))


def coloured(path: Path, y: int, u: int, v: int, **tags: int) -> np.ndarray:
    """The colour that a video of one YUV colour shows."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        frame = av.VideoFrame(64, 64, "yuv420p")
        for plane, value in zip(frame.planes, (y, u, v), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        for name, value in tags.items():
            setattr(frame, name, value)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return np.asarray(next(frames_of(path, [0.0]).read()))[32, 32].astype(int)


def test_colours_follow_the_tags_and_without_them_bt601(tmp_path: Path) -> None:
    """The same bytes mean other colours in BT.601 and BT.709, in limited and full range."""
    red = (81, 90, 240)
    for name, tags, expected in [
        ("none", {}, (254, 0, 0)),
        ("601", {"colorspace": 6}, (254, 0, 0)),
        ("709", {"colorspace": 1}, (255, 24, 0)),
        ("full", {"colorspace": 6, "color_range": 2}, (238, 14, 14)),
    ]:
        assert np.abs(coloured(tmp_path / f"{name}.mp4", *red, **tags) - expected).max() <= 3, name


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [((0, 1, -1, 0), lambda p: np.rot90(p, -1)), ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
     ((0, -1, 1, 0), np.rot90), ((-1, 0, 0, 1), np.fliplr)],
)  # fmt: skip
def test_frames_are_turned_as_players_show_them(matrix: tuple[int, ...], turn: Any, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", STEADY[:3], pixel_format="yuv444p")
    plain = [np.asarray(frame) for frame in frames_of(path, STEADY[:3]).read()]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 20] = b"".join(value.to_bytes(4, "big", signed=True) for value in (a, b, 0, c, d))
    path.write_bytes(data)
    for before, after in zip(plain, frames_of(path, STEADY[:3]).read(), strict=True):
        assert (turn(before) == after).all()
    data[at : at + 20] = b"".join(v.to_bytes(4, "big", signed=True) for v in (46341, 46341, 0, -46341, 46341))
    path.write_bytes(data)
    assert "no multiple of 90 degrees" in numbers(frames_of(path, [0.0]))[0]


def test_equal_times_get_the_same_frame_and_gaps_are_named(tmp_path: Path) -> None:
    times = np.delete(STEADY, [20, 21, 40])
    path = write_video(tmp_path / "a.mp4", times)
    assert frames_of(path, STEADY).check() == ""
    found = numbers(frames_of(path, STEADY))
    assert [i for i, number in enumerate(found) if isinstance(number, str)] == [20, 21, 40]
    assert found[20] == f"observation.images.top: {path} has no frame at 0.67 s; the nearest are at 0.63 s and 0.73 s"
    assert found[:20] + found[22:40] + found[41:] == list(range(57))
    assert numbers(frames_of(path, [0.1, 0.1, 0.1 + 1e-9, 0.4])) == [3, 3, 3, 12]
    assert numbers(frames_of(path, [])) == []


def test_a_time_gets_the_nearest_frame_within_half_a_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", STEADY)
    for off in (-0.49, -0.2, 0.2, 0.49):
        assert numbers(frames_of(path, STEADY[1:-1] + off / FPS)) == list(range(1, 59))
    half = np.arange(20) / 20  # a table of 20 Hz and a video of 30 Hz: every step has a frame that is near enough
    assert numbers(frames_of(path, half, 0.5 / 20)) == [round(t * FPS - 1e-6) for t in half]


def test_only_a_few_frames_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[Picture] = weakref.WeakSet()
    most = 0

    class Watched(Picture):
        def __init__(self, time: float, frame: Any) -> None:
            nonlocal most
            super().__init__(time, frame)
            alive.add(self)
            most = max(most, len(alive))

        __hash__ = object.__hash__

    monkeypatch.setattr("pipelines.recordings.video_decoder.Picture", Watched)
    path = write_video(tmp_path / "a.mp4", np.arange(300) / FPS, "h264_b", gop=250)
    for frame in frames_of(path, np.arange(300) / FPS).read():
        assert not isinstance(frame, BadFrame)
    assert 2 <= most <= 8


def test_names_with_signs_that_ffmpeg_or_fsspec_could_take_for_theirs(tmp_path: Path) -> None:
    for name in ("a::b #?*[x] %03d.mp4", "concat:a|b.mp4", "http:x.mp4", "a?b=c&d.mp4", "déjà vu.mp4"):
        path = write_video(tmp_path / "a.mp4", STEADY[:5]).rename(tmp_path / name)
        sound(path, STEADY[:5])


def test_without_pyav_the_line_that_brings_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", STEADY[:5])
    for name in [name for name in sys.modules if name == "av" or name.startswith("av.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    video_header.read_header.cache_clear()
    frames = frames_of(path, STEADY[:5])
    for reading in (frames.check, lambda: list(frames.read())):
        with pytest.raises(
            InputError,
            match=r"needs the package 'av', which is not installed; run: pip install 'fasttok-vla\[pipelines\]'",
        ):
            reading()


def test_an_iterator_that_is_left_closes_the_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", STEADY)
    reading = frames_of(path, STEADY).read()
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert len(frames_of(path, STEADY)) == 60
    assert frames_of(path, STEADY).size() == round(60 * 64 * 96 * video.JPEG_BYTES)


def test_times_before_zero_and_other_clocks(tmp_path: Path) -> None:
    """Frame rates that are no whole number, and a container whose clock has milliseconds."""
    times = np.arange(90) * 1001 / 30000
    for suffix in (".mp4", ".mkv"):
        path = write_video(tmp_path / f"a{suffix}", times, "h264_b")
        sound(path, times)
        sound(path, times[60:], first=60)


@pytest.mark.parametrize("codec", ["h264", "h264_b", "av1", "hevc_b"])
def test_an_edit_list_that_begins_between_key_frames(codec: str, tmp_path: Path) -> None:
    """Frames before it are decoded and not shown: the first that is shown has time 0."""
    path = write_video(tmp_path / "a.mp4", STEADY, codec)
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    length, begins, _ = struct.unpack(">Iii", data[at : at + 12])
    data[at : at + 8] = struct.pack(">Ii", length - 500, begins + 15 * 512)
    path.write_bytes(data)
    sound(path, STEADY[:45], first=15)
    sound(path, STEADY[20:45], first=35)


@pytest.mark.parametrize("codec", ["h264", "h264_b", "hevc", "av1", "mpeg4", "vp9", "mjpeg"])
@pytest.mark.parametrize("gop", [2, 10, 250])
def test_groups_of_frames_that_no_step_needs_are_not_decoded(
    codec: str, gop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that takes few steps of an episode reads the same pixels as one that takes all."""
    times = np.arange(120) / FPS
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_video(tmp_path / "a.mp4", times, codec, gop=gop, pixel_format=pixels)
    whole = [np.asarray(frame) for frame in frames_of(path, times).read()]
    decoded: list[int] = []
    step = video_decoder._step

    def counted(packet: Any) -> Any:
        decoded.append(packet.size)
        return step(packet)

    monkeypatch.setattr(video_decoder, "_step", counted)
    rng = np.random.default_rng(gop)
    for count in (1, 4, 30):
        decoded.clear()
        steps = np.sort(rng.choice(120, count, replace=False))
        jitter = rng.uniform(-1e-4, 1e-4, 120) * (times > 0)
        found = list(frames_of(path, times + jitter).take(steps).read())
        assert all(np.array_equal(np.asarray(frame), whole[i]) for frame, i in zip(found, steps.tolist(), strict=True))
        if count == 4 and gop == 2 and codec in ("h264", "av1", "mpeg4", "vp9", "mjpeg"):
            assert len(decoded) < 30
