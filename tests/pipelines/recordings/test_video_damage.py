"""Videos that are damaged, cut off, no videos, or of another episode: named by file, camera and time, never a wrong frame."""

import io
import struct
from pathlib import Path
from typing import Any, ClassVar

import av
import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fasttok.episodes.frames import BadFrame
from pipelines.recordings import video_header
from pipelines.recordings.video import VideoFrames
from pipelines.recordings.video_file import open_video
from tests.pipelines.recordings.made_videos import FPS, STEADY, frames_of, numbers, shown, write_video

G1 = (
    Path(__file__).resolve().parents[4] / "shared" / "data" / "lerobot" / "g1_bottle"
)  # beside the checkout; may be absent
STRICT_CODECS = ("h264", "h264_b", "av1", "mpeg4", "mpeg4_b")  # their data shows most damage; HEVC and VP9 show less


def wrongs(found: list[Any]) -> int:
    """How many steps have a frame that is not theirs."""
    return sum(number != i for i, number in enumerate(found) if not isinstance(number, str))


def not_a_video(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Name -> bytes of a file named .mp4, and what to say about it."""
    png, avi = io.BytesIO(), folder / "made.avi"
    Image.new("RGB", (64, 64)).save(png, "PNG")
    write_video(avi, STEADY[:5], "mpeg4")
    whole = write_video(folder / "whole.mp4", STEADY).read_bytes()
    other = folder / "other.mp4"
    other.write_bytes(whole)
    audio = folder / "audio.mp4"
    with av.open(str(audio), "w") as container:
        stream: Any = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    moov = whole.index(b"moov") - 4
    return {
        "empty": (b"", "is empty"),
        "text": (b"episode 3 was not recorded\n" * 9, "is not a video"),
        "png": (png.getvalue(), "is not a video"),
        "avi": (avi.read_bytes(), "is an AVI, which does not say when its frames are shown; convert it to MP4"),
        "noise": (np.random.default_rng(0).bytes(4096), "is not a video"),
        "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        "no index": (whole[:moov], "is an MP4 without its index (moov): its recording or its copy was cut off"),
        "audio": (audio.read_bytes(), "contains no video stream"),
        "codec": (whole.replace(b"avc1", b"zzzz"), "is encoded by a codec that this FFmpeg cannot decode"),
        "playlist": (f"#EXTM3U\n#EXTINF:2,\n{other}\n#EXT-X-ENDLIST\n".encode(), "is not a video"),
        "list": (f"ffconcat version 1.0\nfile '{other}'\n".encode(), "is not a video"),
    }


def test_what_is_no_video_is_said(tmp_path: Path) -> None:
    """Playlists and lists would make FFmpeg open other files."""
    for name, (data, says) in not_a_video(tmp_path).items():
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(data)
        frames = frames_of(path, STEADY)
        assert frames.check().startswith(f"observation.images.top: {path} "), name
        assert says in frames.check(), name
        found = list(frames.read())
        assert len(found) == 60, name
        assert {frame.detail for frame in found if isinstance(frame, BadFrame)} == {frames.check()}, name


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for url in (str(tmp_path / "a.mp4"), f"memory://{tmp_path.name}/a.mp4"):
        frames = VideoFrames(url, STEADY, 0.5 / FPS, "wrist")
        assert frames.check() == f"wrist: {url} does not exist"
        assert frames.size() == 0
        assert [f.detail for f in frames.read() if isinstance(f, BadFrame)] == [frames.check()] * 60
    assert "is a folder, expected a video file" in frames_of(tmp_path, STEADY).check()


def test_several_streams_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.mp4"
    with av.open(str(path), "w") as container:
        streams: list[Any] = [container.add_stream("mpeg4", rate=FPS) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for stream in streams:
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
            container.mux(stream.encode(None))
    assert "contains 2 video streams; expected one: split it, one camera per file" in frames_of(path, STEADY).check()


@pytest.mark.parametrize(("pixels", "codec"), [("gray16le", "ffv1"), ("gray10le", "hevc"), ("gray12le", "hevc")])
def test_depth_is_refused_by_name(pixels: str, codec: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / ("a.mkv" if codec == "ffv1" else "a.mp4"), STEADY[:5], codec, pixel_format=pixels)
    says = f"contains depth (pixel format {pixels}), which is not a picture; leave this camera out of the entry"
    assert says in frames_of(path, STEADY[:5]).check()
    assert says in numbers(frames_of(path, STEADY[:5]))[0]


def test_a_video_of_another_length_or_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", STEADY)
    name = f"observation.images.top: {path}"
    times = np.arange(70) / FPS
    assert frames_of(path, times[:61]).check() == f"{name} ends at 1.97 s, the episode needs 2.00 s"
    found = numbers(frames_of(path, times))
    assert found[:60] == list(range(60))
    assert found[60:] == [f"{name} ends at 1.97 s, the step needs {t:.2f} s" for t in times[60:]]
    late = write_video(tmp_path / "late.mp4", STEADY + 1)
    assert (
        frames_of(late, STEADY + 0.5).check()
        == f"observation.images.top: {late} starts at 1.00 s, the episode needs 0.50 s"
    )
    assert wrongs([str(n) if isinstance(n, str) else n for n in numbers(frames_of(late, STEADY))]) == 30
    slow = write_video(tmp_path / "slow.mp4", np.arange(60) / 10)  # 10 Hz beside a table of 30 Hz
    assert (
        "has no frame within 0.017 s of 40 of the episode's 60 steps, the first at 0.03 s"
        in frames_of(slow, STEADY).check()
    )
    for codec in ("h264_b", "hevc_b"):
        short = write_video(tmp_path / "short.mp4", STEADY, codec)
        assert "ends at 1.97 s, the episode needs 2.00 s" in frames_of(short, times[:61]).check()
    mkv = write_video(tmp_path / "a.mkv", STEADY)
    assert "ends at 2.00 s, the episode needs 2.30 s" in frames_of(mkv, times).check()


def test_timestamps_of_the_table_that_do_not_ascend(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", STEADY)
    for times in ([0.0, 0.5, 0.4], [0.0, float("nan")], [0.0, float("inf")]):
        assert "the timestamps of the episode's steps do not ascend" in frames_of(path, times).check()
        assert len(list(frames_of(path, times).read())) == len(times)


@pytest.mark.parametrize("codec", ["h264", "h264_b", "hevc_b", "av1", "mpeg4_b", "vp9"])
def test_truncated_anywhere(codec: str, tmp_path: Path) -> None:
    """With the index in front, the frames before the cut are right; with the index at the end, there are none."""
    for options in ({"movflags": "faststart"}, {}):
        whole = write_video(tmp_path / "a.mp4", STEADY, codec, container_options=options).read_bytes()
        for cut in np.linspace(0, len(whole) - 1, 23).astype(int).tolist():
            path = tmp_path / f"{cut}.mp4"
            path.write_bytes(whole[:cut])
            found = numbers(frames_of(path, STEADY))
            assert len(found) == 60
            assert wrongs(found) == 0
            if not frames_of(path, STEADY).check():  # nothing is lost but the name of the program that wrote the file
                assert len(whole) - cut < 100
                assert not options
                assert found == list(range(60))
                continue
            assert isinstance(found[-1], str)
            good = [i for i, number in enumerate(found) if not isinstance(number, str)]
            assert good == list(range(len(good)))
            if good:  # the episodes of the first part of the file are whole, and the header says so
                assert frames_of(path, STEADY[: len(good) // 2]).check() == ""


def test_matroska_and_fragments_that_are_cut_off(tmp_path: Path) -> None:
    """Their headers do not list all frames: the build says which are missing."""
    for name, options in {"a.mkv": {}, "a.mp4": {"movflags": "frag_keyframe+empty_moov"}}.items():
        path = write_video(tmp_path / name, STEADY, "h264_b", container_options=options)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        found = numbers(frames_of(path, STEADY))
        assert wrongs(found) == 0
        assert 20 <= sum(not isinstance(number, str) for number in found) <= 50


def test_damage_costs_the_frames_until_the_next_key_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", STEADY, "h264", gop=10)
    with av.open(str(path)) as container:
        entry = container.streams.video[0].index_entries[33]
    data = bytearray(path.read_bytes())
    data[entry.pos : entry.pos + entry.size] = bytes(entry.size)
    path.write_bytes(data)
    assert frames_of(path, STEADY).check() == ""  # a header knows nothing of it
    found = numbers(frames_of(path, STEADY))
    bad = [i for i, number in enumerate(found) if isinstance(number, str)]
    assert bad == list(range(33, 40))
    assert found[33].startswith(f"observation.images.top: {path} cannot be decoded at 1.10 s: damaged data: ")
    assert wrongs(found) == 0
    assert numbers(frames_of(path, STEADY[40:])) == list(range(40, 60))


flips = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4)


@settings(max_examples=300, derandomize=True)
@given(
    codec=st.sampled_from([*STRICT_CODECS, "hevc_b", "vp9"]),
    flipped=flips,
    cut=st.none() | st.floats(0.01, 1),
    front=st.booleans(),
)
def test_mutants_give_frames_or_say_why_not(
    codec: str,
    flipped: list[tuple[float, int]],
    cut: float | None,
    front: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "mutants"
    folder.mkdir(exist_ok=True)
    source = folder / f"{codec}{front}.mp4"
    if not source.exists():
        write_video(source, STEADY, codec, container_options={"movflags": "faststart"} if front else {})
    data = bytearray(source.read_bytes())
    for where, mask in flipped:
        data[int(where * len(data))] ^= mask
    path = folder / "mutant.mp4"
    path.write_bytes(data[: round(len(data) * cut)] if cut is not None else data)
    video_header.read_header.cache_clear()
    frames = frames_of(path, STEADY)
    refused = frames.check()
    assert refused == "" or str(path) in refused
    found = numbers(frames)
    assert len(found) == 60
    for number in found:
        assert not isinstance(number, str) or str(path) in number
    if codec in STRICT_CODECS and not refused:  # a few changed bits may decode as another picture, which nothing tells
        assert wrongs(found) <= 20


class CountedFile(AbstractBufferedFile):
    def _fetch_range(self, start: int, end: int) -> bytes:
        if CountedFiles.broken_at < end:
            raise ConnectionResetError("reset by peer")
        CountedFiles.fetched += end - start
        return CountedFiles.held[self.path][start:end]


class CountedFiles(AbstractFileSystem):
    """A remote file system that counts what it sends."""

    protocol = "counted"
    held: ClassVar[dict[str, bytes]] = {}
    fetched = 0
    broken_at: float = float("inf")

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        if path not in self.held:
            raise FileNotFoundError(path)
        return {"name": path, "size": len(self.held[path]), "type": "file"}

    def _open(self, path: str, mode: str = "rb", block_size: Any = None, **kwargs: Any) -> CountedFile:
        return CountedFile(self, path, mode, block_size or 5 << 20, **kwargs)


def test_remote_files_are_read_and_a_check_fetches_little(tmp_path: Path) -> None:
    fsspec.register_implementation("counted", CountedFiles, clobber=True)
    for options in ({}, {"movflags": "faststart"}):
        path = write_video(
            tmp_path / "a.mp4",
            np.arange(300) / FPS,
            "mjpeg",
            size=(480, 640),
            pixel_format="yuvj420p",
            container_options=options,
        )
        CountedFiles.held["a.mp4"], CountedFiles.fetched = path.read_bytes(), 0
        video_header.read_header.cache_clear()
        whole = len(CountedFiles.held["a.mp4"])
        frames = VideoFrames("counted://a.mp4", np.arange(300) / FPS, 0.5 / FPS, "top")
        assert frames.check() == ""
        assert whole > 2_000_000
        assert CountedFiles.fetched < 1_000_000
        before = CountedFiles.fetched
        assert frames.take(np.arange(100)).check() == ""
        assert CountedFiles.fetched == before  # another episode of the same file
        assert [shown(np.asarray(f)) for f in frames.take(np.arange(0, 300, 37)).read()] == list(range(0, 300, 37))
    CountedFiles.held["b.mp4"] = CountedFiles.held["a.mp4"][:1_500_000]
    cut = VideoFrames("counted://b.mp4", np.arange(300) / FPS, 0.5 / FPS, "top")
    assert "is cut off: it contains no data from" in cut.check()


def test_a_network_that_fails_is_not_a_bad_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job fails and is done again; nothing is counted as damaged."""
    fsspec.register_implementation("counted", CountedFiles, clobber=True)
    path = write_video(tmp_path / "a.mp4", STEADY, "mjpeg", size=(480, 640), pixel_format="yuvj420p")
    CountedFiles.held["c.mp4"] = path.read_bytes()
    video_header.read_header.cache_clear()
    for at in (0, 200_000):
        monkeypatch.setattr(CountedFiles, "broken_at", at)
        frames = VideoFrames("counted://c.mp4", STEADY, 0.5 / FPS, "top")
        with pytest.raises(ConnectionResetError, match="reset by peer"):
            frames.check()
        with pytest.raises(ConnectionResetError, match="reset by peer"):
            list(frames.read())


def test_a_header_is_read_again_only_if_the_file_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def opening(url: str, block: int) -> Any:
        opened.append(url)
        return open_video(url, block)

    monkeypatch.setattr(video_header, "open_video", opening)
    path = write_video(tmp_path / "a.mp4", STEADY)
    for start in range(10):
        assert frames_of(path, STEADY[start:]).check() == ""
    assert len(opened) == 1
    write_video(path, STEADY[:30])
    assert "ends at" in frames_of(path, STEADY).check()
    assert len(opened) == 2


def test_nothing_is_decoded_to_check(tmp_path: Path) -> None:
    """Every byte of every frame may be damaged; a header is not."""
    path = write_video(tmp_path / "a.mp4", STEADY)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for entry in list(container.streams.video[0].index_entries)[1:]:
            data[entry.pos : entry.pos + entry.size] = bytes(entry.size)
    path.write_bytes(data)
    assert frames_of(path, STEADY).check() == ""


def test_absurd_sizes_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", STEADY[:3], "mjpeg", pixel_format="yuvj420p")
    data = path.read_bytes()
    jpeg = data.index(b"\xff\xc0")
    while jpeg >= 0:
        data = data[: jpeg + 5] + struct.pack(">HH", 60000, 60000) + data[jpeg + 9 :]
        jpeg = data.find(b"\xff\xc0", jpeg + 9)
    path.write_bytes(data)
    assert all(isinstance(number, str) for number in numbers(frames_of(path, STEADY[:3])))


EPISODES = sorted(path.stem for path in G1.glob("videos/*/*/*.mp4"))


def real_frames(episode: str) -> VideoFrames:
    table = pq.read_table(G1 / "data" / "chunk-000" / f"{episode}.parquet", columns=["timestamp"])
    path = G1 / "videos" / "chunk-000" / "observation.images.cam_high" / f"{episode}.mp4"
    return VideoFrames(str(path), table["timestamp"].to_numpy().astype(np.float64), 0.5 / 30, "cam_high")


@pytest.mark.skipif(not EPISODES, reason="the shared LeRobot dataset is not here")
def test_real_av1_by_its_headers() -> None:
    assert len(EPISODES) == 14
    for episode in EPISODES:
        assert real_frames(episode).check() == ""
        header = video_header.read_header(real_frames(episode).url, "")
        assert header.times is not None
        assert len(header.times) == len(real_frames(episode))


@pytest.mark.slow
@pytest.mark.skipif(not EPISODES, reason="the shared LeRobot dataset is not here")
def test_real_av1_has_a_frame_for_every_timestamp() -> None:
    for episode in EPISODES:
        shapes = [frame.shape if isinstance(frame, np.ndarray) else frame for frame in real_frames(episode).read()]
        assert shapes == [(480, 640, 3)] * len(real_frames(episode)), episode
