"""Stores films of episodes in one npz file, and shows each film as a row of frames."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common import html
from fasttok.common.html import Markup, tag
from fasttok.common.output_file import in_one_step
from train.judging.film_recorder import Film


def save(path: Path, films: dict[str, list[Film]]) -> None:
    """Writes one npz file in one step, so that it is either whole or not there.

    Args:
        path: path of the file.
        films: films by "EMBODIMENT/SPLIT".
    """
    arrays: dict[str, NDArray[Any]] = {}
    for where, filmed in films.items():
        for i, film in enumerate(filmed):
            name = f"{where}/{i}"
            arrays[name], arrays[f"{name}/steps"] = film.frames, film.steps
            outcome = "success" if film.success else "failure"
            arrays[f"{name}/text"] = np.array(f"{film.instruction}|{outcome}|{film.seed}")
    # Given a path, numpy would add .npz to a name without it.
    with in_one_step(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load(path: Path) -> dict[str, list[Film]]:
    """Reads what `save` wrote, without unpickling anything."""
    out: dict[str, list[Film]] = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            if name.endswith(("/text", "/steps")):
                continue
            instruction, outcome, seed = str(archive[f"{name}/text"]).rsplit("|", 2)
            film = Film(instruction, outcome == "success", int(seed), archive[name], archive[f"{name}/steps"])
            out.setdefault(name.rsplit("/", 1)[0], []).append(film)
    return out


def place(where: str) -> str:
    """Returns the name of a group of films, "EMBODIMENT/SPLIT", as readable text.

    >>> place("planar/more_objects")
    'planar, more objects'
    """
    return where.replace("/", ", ").replace("_", " ")


def strip(film: Film, about: str, frames: int, colours: int | None = None) -> list[Markup]:
    """Shows a film: its outcome, its instruction and a row of evenly spaced frames.

    Args:
        film: film to show.
        about: text after the instruction.
        frames: maximum number of frames to show.
        colours: number of colours in each picture; fewer make a smaller page. None: all colours.
    """
    chosen = np.unique(np.linspace(0, len(film.frames) - 1, frames).astype(int))
    pictures = []
    for i in chosen:
        name = f"step {film.steps[i]}"
        pictures.append(tag("figure", html.image(png(film.frames[i], colours), 92, name), tag("figcaption", name)))
    badge = html.badge("success", html.GOOD) if film.success else html.badge("failure", html.BAD)
    head = tag("p", badge, Markup(" "), tag("b", film.instruction), tag("span", f" · {about}", class_="soft"))
    return [head, tag("div", *pictures, class_="film")]


def png(frame: NDArray[np.uint8], colours: int | None = None) -> bytes:
    """Encodes a frame (h, w, 3) as PNG bytes."""
    from PIL import Image  # storing films does not need it

    buffer = io.BytesIO()
    image = Image.fromarray(frame)
    (image if colours is None else image.quantize(colours)).save(buffer, "PNG")
    return buffer.getvalue()
