"""Drafts an entry for npz, npy and Parquet files: columns by their usual names, the meaning of actions by measuring."""

from itertools import islice

from fasttok.episodes import BadRecord
from fasttok.episodes.dataset_name import dataset_name
from fasttok.errors import InputError
from pipelines.check.columns_by_name import find_columns
from pipelines.drafts.draft import Draft
from pipelines.drafts.language import language_lines
from pipelines.drafts.lines import flow, listed
from pipelines.drafts.measured_parts import action_parts, state_parts
from pipelines.drafts.readable import readable
from pipelines.recordings.tables import TableRecordings

LOOKED_AT = 20  # episodes from which the meaning of actions is measured


def propose(path: str) -> Draft:
    """Drafts an entry for a file or a folder of files.

    Raises:
        InputError: no episode can be read; says what is wrong with the first.
    """
    opened = TableRecordings(path)
    records = (record for section in opened.sections()["train"] for record in opened.read(section, False))
    bad: list[BadRecord] = []
    episodes = list(islice(readable(records, bad), LOOKED_AT))
    if not episodes:
        raise InputError(f"{path} has no episode that can be read; the first problem: {bad[0] if bad else 'no record'}")
    columns = find_columns(None, episodes[0])
    name = dataset_name(path)
    hz = episodes[0].metadata.get("control_hz")
    questions = [] if hz else [f"control_hz: the files do not say it; `index --control-hz {name}=HZ` may say it, too"]
    assumed = [
        f"proprio: {', '.join(dict.fromkeys(c.feature for c in columns.state)) or 'none'}, by the columns' names"
    ]
    if not columns.action:
        there = ", ".join(sorted(episodes[0].steps))
        return Draft("", (), (f"action: no column is called action or actions; there are {there}",))
    action = action_parts(columns, episodes, hz, assumed, questions)
    lines = [
        flow("name", name),
        "kind: robot",
        "format: tables",
        "robot: ''",
        flow("control_hz", hz),
        "cameras: {}",
        *language_lines(episodes, assumed),
        *listed("action", action),
        *listed("proprio", state_parts(columns.state)),
    ]
    return Draft("\n".join(lines) + "\n", tuple(assumed), tuple(questions))
