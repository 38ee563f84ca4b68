"""The command fasttok-study figure RESULTS... --out FOLDER. Slow modules are imported after its words are parsed."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fasttok.common.console import emit_json, log, table, write_text
from fasttok.common.flags import optional
from fasttok.common.output_folder import Mark, OutputKind, check_output
from fasttok.errors import InputError

COMMITTED = "benchmarks/results/study_*.json"
DATA, PAGE, PICTURE, TEXT = "figure.json", "figure.html", "figure.svg", "figure.md"
FIGURE = OutputKind("figure", marks=(Mark(DATA, ("pairs", "lines", "command")),), files=(DATA, PAGE, PICTURE, TEXT))


@dataclass(frozen=True)
class FigureConfig:
    """Draws how much success insulation gains or costs in several studies, against how well action tokens are learnt.

    The figure needs at least three pairs of an insulated and a joint run that differ in nothing else.

    Example: fasttok-study figure studies/presets/results.json studies/insulation/results.json --out figure
    """

    results: Annotated[tuple[Path, ...], tyro.conf.Positional, optional("[RESULTS ...]")] = ()
    """results.json of each study, or the folder that has it.
    By default benchmarks/results/study_*.json, the results that come with a clone of the repository."""
    out: Path = Path("figure")
    """Folder for the figure: figure.html, figure.svg, figure.md (for documentation) and figure.json (its numbers)."""
    own_values: bool = False
    """Also pair arms for which a study's search chose different values, such as two learning rates.
    By default they are left out, because they differ in more than insulation."""
    overwrite: bool = False
    """Replace an earlier figure in --out."""
    json: bool = False
    """Print the figure's lines and pairs as JSON on stdout."""


def files(given: Sequence[Path], here: Path = Path()) -> list[Path]:
    """Returns the files of results to draw.

    Args:
        given: files and folders; if empty, the results in a checkout are used.
        here: folder of the checkout.

    Raises:
        InputError: nothing is given, and `here` has no results.
    """
    if not given:
        found = sorted(here.glob(COMMITTED))
        if not found:
            raise InputError(
                f"no {COMMITTED} here; give results.json of studies: fasttok-study figure OUT/NAME/results.json"
            )
        return found
    return [path / "results.json" if path.is_dir() else path for path in given]


def main(config: FigureConfig, command: str) -> None:
    """Draws the figure.

    Args:
        config: what to draw.
        command: the command line.

    Raises:
        InputError: there are no results or fewer than three pairs, or --out may not be overwritten.
    """
    from train.study import figure
    from train.study.pairs import find_pairs
    from train.study.study_result import read_result
    from train.study.tables import short

    found = find_pairs([read_result(path)[1] for path in files(config.results)], config.own_values)
    shown = figure.panels(found)
    place = check_output(config.out, FIGURE, overwrite=config.overwrite)
    place.begin()
    lines = [
        {
            "against": p.against,
            "split": p.split,
            "pairs": len(p.pairs),
            "line": None if p.line is None else asdict(p.line),
        }
        for p in shown
    ]
    numbers = short({"command": command, "pairs": [asdict(pair) for pair in found.pairs], "lines": lines})
    write_text(config.out / PICTURE, figure.svg(shown, found))
    write_text(config.out / TEXT, figure.markdown(shown, found, command, PICTURE))
    write_text(config.out / PAGE, figure.page(shown, found, command))
    write_text(config.out / DATA, json.dumps(numbers, indent=1) + "\n")
    if config.json:
        emit_json(numbers)
        return
    drawn = figure.lines_table(shown)
    table(drawn.title, drawn.columns, drawn.rows)
    for sentence in [*figure.answer(shown, found), *figure.left_out(found)]:
        log(sentence)
    log(f"open {config.out / PAGE}; for documentation: {config.out / TEXT} and {config.out / PICTURE}")


def command(argv: list[str]) -> None:
    """Carries out the command line after the words `fasttok-study figure`."""
    config = tyro.cli(FigureConfig, prog="fasttok-study figure", args=argv)
    main(config, shlex.join(["fasttok-study", "figure", *argv]))
