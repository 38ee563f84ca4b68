"""Writes the README of a saved tokenizer: data, counts, settings, metrics, how to load it."""

import json
from collections.abc import Sequence

from fasttok.episodes.dataset_name import dataset_name
from fasttok.fitting.fit import FitConfig, FitReport, exceptions, measured_on, relative_lines, report_rows
from fasttok.fitting.transform_lines import transform_lines
from fasttok.storage import transform_file
from fasttok.tokenizer import ActionTokenizer

TEMPLATE = """# FAST action tokenizer

{vocab} ids, scale {scale:g}, {mode} fit, coefficients {low}..{high}, fingerprint `{fingerprint}`.

```python
from fasttok import ActionTokenizer
tok = ActionTokenizer.load("{example}")
{states}ids = tok.encode(chunks, embodiment={embodiment}{reference})                      # (batch, {horizon}, {dim}), raw units
out = tok.decode(ids, horizon={horizon}, action_dim={dim}, embodiment={embodiment}{reference})  # out.actions, out.ok
```

This tokenizer was fitted on {data}. Its actions are normalised by {normalize}.{others} It was measured on {measured}:

{table}

Error per dimension, root mean square in raw units:

{errors}
{notes}"""

STATES = "reference = tok.embodiments[{}].reference(states)  # states: (batch, S), at the first step of each chunk\n"


def write(tok: ActionTokenizer, report: FitReport, config: FitConfig, data: Sequence[str]) -> str:
    """Returns the card as Markdown.

    >>> import numpy as np
    >>> from fasttok.actions.embodiment import Embodiment
    >>> from fasttok.evaluation.metrics import measure
    >>> chunks = np.linspace(-1.0, 1.0, 60).reshape(4, 15, 1)
    >>> tok = ActionTokenizer.fit(chunks, 256, embodiments={"arm": Embodiment(15, 1)})
    >>> done = FitReport({"arm": 1}, {"arm": 4}, {"arm": 4}, {"arm": measure(tok, chunks)})
    >>> write(tok, done, FitConfig(), ["data/mine"]).splitlines()[0]
    '# FAST action tokenizer'
    """
    notes = list(map(_line, [*relative_lines(tok), *transform_lines(tok), *report.notes()]))
    rows, others = report_rows(tok, report), list(map(_line, exceptions(tok)))
    first = next(iter(tok.embodiments))
    quoted = json.dumps(first, ensure_ascii=False)
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in rows]
    errors = [f"- {_line(name)}: " + ", ".join(f"{e:.3g}" for e in m.rms) for name, m in report.metrics.items()]
    return TEMPLATE.format(
        vocab=tok.vocab_size,
        scale=tok.scale,
        mode=tok.mode,
        low=tok.min_token,
        high=tok.max_token,
        fingerprint=tok.fingerprint,
        example="path/to/this/folder",
        embodiment=quoted,
        states=STATES.format(quoted) if tok.embodiments[first].relative else "",
        reference=", reference=reference" if tok.embodiments[first].relative else "",
        horizon=tok.embodiments[first].horizon,
        dim=tok.embodiments[first].action_dim,
        data=", ".join(dataset_name(str(path)) for path in data) or "an INDEX",
        normalize=config.normalize,
        measured=measured_on(report.held_out),
        others=f" Some dims are normalised otherwise, because {config.normalize} would not describe them: {'; '.join(others)}."
        if others
        else "",
        table="\n".join(lines),
        errors="\n".join(errors),
        notes="\nAbout the data:\n\n" + "\n".join(f"- {line}" for line in notes) + "\n" if notes else "",
    ) + transform_file.only_here(tok.transforms)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else _line(value).replace("|", "\\|")


def _line(value: object) -> str:
    """Returns a text in one line: names of robots come from files, and a line break would end a row of a table."""
    return " ".join(str(value).split())
