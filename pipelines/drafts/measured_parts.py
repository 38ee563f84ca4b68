"""Drafts the parts of an action that no file describes: neighbouring columns with the same measured meaning are a part."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from fasttok.episodes import Episode
from pipelines.check.action_meaning import action_meanings
from pipelines.check.columns_by_name import DatasetColumns, StepColumn, values_of
from pipelines.drafts.lines import EntryPart

FORMS = (("joint_pos", "joint_vel"), ("cartesian", "eef_pos", "ee_pos"), ("position",), ("velocity",))  # of an action


def draft_action(
    columns: DatasetColumns, episodes: Sequence[Episode], hz: float | None, assumed: list[str], questions: list[str]
) -> list[EntryPart]:
    """Does what `action_parts` does, and checks first which columns are the action.

    It notes which columns were taken by their names, and asks if several features seem to be the action in several forms.

    Args:
        columns: columns of the action and the state.
        episodes: some episodes of the dataset.
        hz: control frequency in Hz, None if it is not known.
        assumed: list to which it adds what it decided.
        questions: list to which it adds what it could not decide.
    """
    for kind, found in (("action", columns.action), ("proprio", columns.state)):
        features = list(dict.fromkeys(column.feature for column in found))
        if len(features) > 1:
            assumed.append(f"{kind}: {', '.join(features)} side by side, by their names")
    if not columns.state:
        assumed.append("proprio: none, as no column is called observation.state")
    names = episodes[0].metadata.get("action_names") or ()
    if names and len(columns.action) != len(names) and len({c.feature for c in columns.action}) == 1:
        assumed.append(f"names: none for the action, as {len(names)} are recorded for {len(columns.action)} columns")
    if not columns.action:
        there = ", ".join(f"{name} ({_kind(values)})" for name, values in sorted(episodes[0].steps.items()))
        questions.append(f"action: no column of numbers is called action or actions; there are {there}")
        return []
    forms = {column.feature for column in columns.action}
    ways = [sorted(f for f in forms if any(word in f for word in words)) for words in FORMS]
    for first, second in (ways[:2], ways[2:]):
        if first and second:
            questions.append(
                f"action: {', '.join(first)} and {', '.join(second)} say the same in two ways; keep the ones that the robot is "
                "to be told"
            )
    return action_parts(columns, episodes, hz, assumed, questions)


def _kind(values: object) -> str:
    if isinstance(values, np.ndarray):
        return f"{values.dtype}, {values.shape[1:] or 1} a step"
    return "text or bytes"


def action_parts(
    columns: DatasetColumns, episodes: Sequence[Episode], hz: float | None, assumed: list[str], questions: list[str]
) -> list[EntryPart]:
    """Returns the parts of the action. Columns whose meaning is not clear get the most frequent meaning of the others.

    Args:
        columns: columns of the action and the state.
        episodes: some episodes of the dataset.
        hz: control frequency in Hz, None if it is not known.
        assumed: list to which it adds what it decided.
        questions: list to which it adds what it could not decide.
    """
    action = columns.action
    states = [values_of(columns.state, episode) for episode in episodes] if columns.state else []
    usable = [i for i, state in enumerate(states) if np.isfinite(state).all()]
    actions = [values_of(action, episodes[i]) for i in usable]
    found = action_meanings(actions, [states[i] for i in usable], hz, columns.pairs()) if usable else []
    sure = [m.meaning if m.strength == "strong" else "unknown" for m in found] or ["unknown"] * len(action)
    told = [meaning for meaning in sure if meaning != "unknown"]
    most = max(sorted(set(told)), key=told.count) if told else "absolute"
    if told:
        kinds = " and ".join(sorted(set(told)))
        assumed.append(f"action: {kinds}, as the state follows {len(told)} of its {len(sure)} columns so")
        if len(told) < len(sure):
            assumed.append(
                f"action: {most} for the other {len(sure) - len(told)} columns, which the state does not follow clearly"
            )
    else:
        questions.append(
            "action: is it absolute (where to be), or a delta (how far to go, or how fast)? The files do not say it, and the "
            "state does not follow it clearly; write `encoding: absolute` or `encoding: delta`"
        )
    final = [most if meaning == "unknown" else meaning for meaning in sure]
    parts = []
    for (feature, meaning), run in groupby(
        zip(action, final, strict=True), key=lambda pair: (pair[0].feature, pair[1])
    ):
        parts.append(part([column for column, _ in run], [c for c in action if c.feature == feature], meaning))
    return parts


def part(columns: Sequence[StepColumn], of: Sequence[StepColumn], meaning: str | None = None) -> EntryPart:
    """Returns a part of an entry, made of neighbouring columns.

    Args:
        columns: neighbouring columns of one feature.
        of: all columns of this feature.
        meaning: absolute, delta or velocity; None for a state.
    """
    more: EntryPart = {"from": columns[0].feature}
    if len(columns) < len(of):
        more["slice"] = [columns[0].column, columns[-1].column + 1]
    if meaning is not None:
        more["encoding"] = "absolute" if meaning == "absolute" else "delta"
    if meaning == "velocity":
        more["unit"] = "per second"
    if all(column.name for column in columns):
        more["names"] = [column.name for column in columns]
    return more


def state_parts(state: Sequence[StepColumn]) -> list[EntryPart]:
    """Returns the parts of the state, one per feature."""
    features = dict.fromkeys(column.feature for column in state)
    groups = [[column for column in state if column.feature == feature] for feature in features]
    return [part(group, group) for group in groups]
