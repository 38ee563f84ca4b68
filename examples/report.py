"""Writes a finished demo as one self-contained page: data, tokens, shards, losses, and the robot beside its two companions.

python -m examples.report --demo demo
"""

import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tyro

from examples import demo_summary
from examples.demo_files import read_json, read_log
from examples.demo_page import films, outcome, training, went_in
from examples.demo_page.headings import heading, links
from fasttok import ActionTokenizer
from fasttok._version import DISTRIBUTION
from fasttok.common import html
from fasttok.common.console import log, run, write_text
from fasttok.common.html import Markup, tag
from fasttok.common.output_file import check_output_file
from fasttok.common.typed import typed_command
from pipelines.shards import ShardReader
from train.judging import films_page
from train.tokens import TextTokenizer

VERSIONS = (DISTRIBUTION, "numpy", "tokenizers", "pyarrow", "apache-beam", "tensorflow", "tensorflow-datasets", "jax")
CSS = """
.verdict { font-size:18px; line-height:1.45; max-width:70ch; margin:14px 0 18px } .hero { max-width:760px; margin:20px 0 }
.small .cards { grid-template-columns:repeat(auto-fit,minmax(min(100%,290px),1fr)) }
"""


@dataclass(frozen=True)
class ReportConfig:
    """Writes report.html into the folder of a finished demo.

    Example: python -m examples.report --demo demo
    """

    demo: Path = Path("demo")
    """Folder that `python -m examples.demo` made."""
    overwrite: bool = False
    """Replace its report.html."""


def steps_section(steps: list[dict[str, Any]]) -> list[Markup]:
    """Returns the commands of the demo with the time that each took, and the machine."""
    rows = [[i, s["title"], tag("code", s["command"]), s["seconds"]] for i, s in enumerate(steps, 1)]
    found = {name: version(name) for name in VERSIONS}
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return [
        heading("made"),
        tag("p", "These commands, in this order; type them yourself to repeat it.", class_="soft"),
        html.table(["", "step", "command", "seconds"], rows, sortable=False),
        tag("p", f"{machine} · " + " · ".join(f"{k} {v}" for k, v in found.items()), class_="soft"),
    ]


def compression(reader: ShardReader) -> tuple[int, int]:
    """Returns the numbers of action values and of FAST ids in the robot rows of the shards."""
    naive = fast = 0
    for shard in range(len(reader.manifest.shards)):
        for batch in reader.record_batches(shard):
            naive += len(batch.column("action").flatten())
            fast += len(batch.column("action_tokens").flatten())
    return naive, fast


def document(demo: Path) -> str:
    """Returns the page of a demo as HTML.

    Raises:
        InputError: a part of the demo is missing.
    """
    reader = ShardReader(str(demo / "shards"))
    tok = ActionTokenizer.load(reader.tokenizer_folder)
    text = TextTokenizer.load(demo / "ki" / "text_tokenizer.json")
    results, played, steps = (read_json(demo / f"{name}.json") for name in ("eval", "baselines", "steps"))
    found = demo_summary.summarize(demo, sum(step["seconds"] for step in steps))
    runs = {
        "VLM alone": read_log(demo / "vlm" / "metrics.jsonl"),
        "insulated": read_log(demo / "ki" / "metrics.jsonl"),
    }
    manifest, chosen = reader.manifest, went_in.samples(reader)
    chunks = [s.horizon / s.control_hz for s in manifest.sources.values() if s.horizon and s.control_hz]
    worlds = films.played(demo / "rollouts.npz")
    rules: dict[str, None] = {}
    sections = [
        *films.hero(worlds, rules),
        *outcome.opening(found, *compression(reader), reader.num_rows),
        *went_in.inputs(manifest, chosen, tok, text),
        *went_in.tokens_section(manifest, chosen, tok),
        *went_in.shards_section(manifest),
        *training.section(runs, training.panels(tok, text, training.mean_square(manifest, chosen, tok))),
        *films.section(worlds, rules),
        *outcome.numbers(results, played, 1000 * max(chunks, default=0.0)),
        *steps_section(steps),
    ]
    return html.page(
        "fasttok: the whole chain",
        tag("h1", "From demonstrations to a robot that acts, in one command"),
        tag("p", "Episodes of two robots, questions and captions become FAST tokens and shards; a small vision-language-action "
                 "model learns from them with knowledge insulation; then it acts.", class_="soft"),
        links(),
        *sections,
        css=films_page.STYLE + CSS + "".join(rules),
        command=typed_command(),
    )  # fmt: skip


def main(config: ReportConfig) -> None:
    """Writes report.html.

    Raises:
        InputError: a part of the demo is missing, or there is a report already.
    """
    out = config.demo / "report.html"
    check_output_file(out, overwrite=config.overwrite, flag="--demo")
    write_text(out, document(config.demo))
    log(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB, no network needed)")


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(ReportConfig, prog="python -m examples.report"))))
