"""Lists the files of a LeRobot folder, and finds a file that is in another place than meta/ says."""

import re
from collections import defaultdict
from dataclasses import dataclass

from fasttok.common import stores
from fasttok.common.names import is_beside

CHUNK = re.compile(r"(chunk|part)?[-_]?\d+")
MOVIES = (".mp4", ".mkv", ".webm", ".mov", ".avi")


@dataclass(frozen=True)
class FolderListing:
    """The files of a folder, by path and by name.

    Attributes:
        sizes: path relative to the folder -> size in bytes.
        tables: file name of a table -> all paths with this name.
        movies: file name of a video -> all paths with this name.
    """

    sizes: dict[str, int]
    tables: dict[str, list[str]]
    movies: dict[str, list[str]]

    @classmethod
    def of(cls, path: str) -> "FolderListing":
        """Lists all files below a folder, in one listing."""
        filesystem, root = stores.filesystem(path)
        base = str(filesystem._strip_protocol(root)).rstrip("/") + "/"
        sizes = {
            str(filesystem._strip_protocol(file)).removeprefix(base): int(info.get("size") or 0)
            for file, info in filesystem.find(root, detail=True).items()
        }
        tables, movies = defaultdict(list), defaultdict(list)
        for file in sorted(sizes):
            name = file.rsplit("/", 1)[-1]
            if is_beside(file):
                continue
            if is_table(file) and not file.startswith("meta/"):
                tables[name].append(file)
            elif file.endswith(MOVIES):
                movies[name].append(file)
        return cls(sizes, dict(tables), dict(movies))

    def table(self, declared: str) -> str:
        """Returns the true path of a table; the declared path if not exactly one other table has its name."""
        return declared if declared in self.sizes else _only(declared, self.tables)

    @property
    def cameras(self) -> list[str]:
        """Names of folders with videos that are not named like a chunk, and so are cameras."""
        paths = [path for some in self.movies.values() for path in some if path.startswith("videos/")]
        folders = [[part for part in path.split("/")[1:-1] if not CHUNK.fullmatch(part)] for path in paths]
        return sorted({folder[0] for folder in folders if len(folder) == 1})

    def video(self, declared: str, camera: str) -> str:
        """Returns the true path of a camera's video, found by its file name and the camera's name in the path.

        It returns the declared path if not exactly one video fits.
        """
        if declared in self.sizes:
            return declared
        stem = declared.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        places = [path for name, paths in self.movies.items() if name.rsplit(".", 1)[0] == stem for path in paths]
        short = camera.rsplit(".", 1)[-1].rsplit("/", 1)[-1]
        for names in ({camera, camera.replace("/", ".")}, {short}):
            named = [path for path in places if names & set(path.split("/")[:-1])]
            if len(named) == 1:
                return named[0]
        return declared


def _only(declared: str, by_name: dict[str, list[str]]) -> str:
    places = by_name.get(declared.rsplit("/", 1)[-1], [])
    return places[0] if len(places) == 1 else declared


def is_table(file: str) -> bool:
    """Returns whether a path is a Parquet file, not one of the `._` files that macOS leaves beside it."""
    return file.endswith(".parquet") and not is_beside(file)
