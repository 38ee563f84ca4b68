"""Tar files of samples, as WebDataset and Energon read them: .jpg, .state.bin, .chunk.bin and .id of each step."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from stage import Source

FILES = 8


def members(source: Source, step: int) -> dict[str, bytes]:
    """The files of a sample, by suffix."""
    return {
        "jpg": source.jpeg(step),
        "state": source.state[step].tobytes(),
        "chunk": source.chunk[step].tobytes(),
        "id": str(source.id(step)).encode(),
    }


def parts(total: int) -> Iterator[range]:
    """The steps of each file."""
    yield from (range(total * i // FILES, total * (i + 1) // FILES) for i in range(FILES))


def write_tars(source: Source, folder: Path) -> Sequence[Path]:
    """Eight files, steps in their order."""
    folder.mkdir(parents=True)
    found = []
    for number, part in enumerate(parts(len(source))):
        found.append(folder / f"{number:03d}.tar")
        with tarfile.open(found[-1], "w", format=tarfile.USTAR_FORMAT) as tar:
            for step in part:
                for suffix, data in members(source, step).items():
                    info = tarfile.TarInfo(f"{step:08d}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return found
