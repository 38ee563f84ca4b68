"""Turns the numbered examples into one notebook and one page of the docs. A test checks that both are up to date.

    python -m examples.notebook

An example begins with a docstring. Its cells follow: each begins with `# %%` and a sentence, as editors understand them.
"""

import ast
import json
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from fasttok.common.console import log, write_text

HERE = Path(__file__).resolve().parent
NOTEBOOK = HERE / "tour.ipynb"
PAGE = HERE.parent / "docs" / "examples.md"
SETUP = """import os
import sys
from pathlib import Path

if Path.cwd().name == "examples":
    os.chdir("..")
sys.path.insert(0, "examples")"""
NOTEBOOK_INTRO = """# A tour of fasttok

The numbered examples of this folder in one notebook: fit a tokenizer, make shards of LeRobot data, read them from PyTorch,
train, serve, and look at a study. Install first, in a checkout: `pip install '.[pipelines,train,serve]' torch jupyterlab`. All
of it runs on generated data and a CPU in a few minutes, and writes to `tour/`."""
PAGE_INTRO = """# Examples

Six scripts go from actions to a policy that answers. Each runs in under a minute on two CPU cores, on data that it generates,
and writes to `tour/`. Run them in a checkout, in any order: one that needs what an earlier one makes runs that one first.

```
python examples/01_fit_tokenizer.py
python examples/02_lerobot_to_shards.py
python examples/03_read_from_pytorch.py
python examples/04_train.py
python examples/05_serve_and_query.py
python examples/06_look_at_a_study.py
```

[examples/tour.ipynb](../examples/tour.ipynb) is all of them as one notebook. The made-up robot is
[examples/my_robot.py](../examples/my_robot.py), which also shows the layout of a LeRobot v2.1 folder. The tests run every script
(`tests/examples/test_numbered.py`); `python -m examples.notebook` makes this page and the notebook from them.
"""


@dataclass(frozen=True)
class Cell:
    """A step of an example.

    Attributes:
        said: what the step does, as Markdown.
        code: its code; "" for the beginning of an example.
    """

    said: str
    code: str = ""


def examples() -> list[Path]:
    """Returns the files of the numbered examples, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def cells(text: str) -> list[Cell]:
    r"""Returns the steps of an example.

    Args:
        text: text of the example's file.

    >>> cells('\"\"\"Add.\n\nTwo numbers.\n\"\"\"\n\n# %% One\n# and one.\n1 + 1\n')
    [Cell(said='## Add\n\nTwo numbers.', code=''), Cell(said='One and one.', code='1 + 1')]
    """
    tree = ast.parse(text)
    title, _, rest = (ast.get_docstring(tree) or "").partition("\n")
    rest = re.sub(r"(?:^    .*\n)+", lambda code: f"```bash\n{textwrap.dedent(code[0])}```\n", rest, flags=re.MULTILINE)
    found = [Cell(f"## {title.rstrip('.')}\n\n{rest.strip()}")]
    for part in text.split("\n# %% ")[1:]:
        comment = re.match(r"(?:.*\n)(?:# .*\n)*", part)
        assert comment is not None
        said = " ".join(line.removeprefix("# ").strip() for line in comment[0].splitlines())
        found.append(Cell(said, part[comment.end() :].strip("\n")))
    return found


def notebook() -> str:
    """Returns the text of the notebook, in format version 4.5 and without outputs."""
    steps = [Cell(NOTEBOOK_INTRO), Cell("Everything below runs in the folder of the checkout.", SETUP)]
    for path in examples():
        steps += cells(path.read_text(encoding="utf-8"))
    made: list[dict[str, object]] = []
    for step in steps:
        made.append({"cell_type": "markdown", "metadata": {}, "source": _lines(step.said)})
        if step.code:
            made.append(
                {
                    "cell_type": "code",
                    "execution_count": None,
                    "metadata": {},
                    "outputs": [],
                    "source": _lines(step.code),
                }
            )
    for number, cell in enumerate(made):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {
        "cells": made,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def page() -> str:
    """Returns the text of docs/examples.md: each example with its steps."""
    parts = [PAGE_INTRO]
    for path in examples():
        for step in cells(path.read_text(encoding="utf-8")):
            parts.append(f"{step.said}\n")
            if step.code:
                parts.append(f"```python\n{step.code}\n```\n")
    return "\n".join(parts)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> None:
    """Writes the notebook and the page."""
    for path, text in ((NOTEBOOK, notebook()), (PAGE, page())):
        write_text(path, text)
        log(f"wrote {path.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
