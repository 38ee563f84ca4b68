"""Represents a dataset's actions in the form that a mixture asks for, if the dataset's entry allows it."""

from fasttok.actions.representation import ActionColumns, Representation
from fasttok.common.action_forms import ActionForm, RotationForm
from fasttok.episodes.index_file import IndexedEntry
from fasttok.errors import InputError
from pipelines.datasets.states import states


def representation(entry: IndexedEntry, name: str, form: ActionForm, rotation: RotationForm) -> Representation | None:
    """Returns how the actions of a source are represented, None for as stored.

    Args:
        entry: the INDEX's entry of the source's dataset.
        name: name of the source, for messages.
        form: form of its actions in rows.
        rotation: form of the rotations in its actions.

    Raises:
        InputError: the dataset does not allow this form.
    """
    if (form, rotation) == ("stored", "stored"):
        return None
    found: tuple[tuple[int, ...], ...] = ((),) * len(entry.action)
    if form != "stored":
        try:
            found = states(entry.action, entry.action_widths, entry.proprio, entry.proprio_widths)
        except InputError as error:
            raise InputError(f"source {name!r}: form: {form} needs each action's state: {error}") from None
    pieces, at = [], 0
    for piece, width, state in zip(entry.action, entry.action_widths, found, strict=True):
        pieces.append(ActionColumns(at, width, piece.encoding, piece.rotation, piece.unit.endswith("/s"), state))
        at += width
    if any(made.rate for made in pieces) and not entry.control_hz:
        raise InputError(f"source {name!r}: its actions are velocities, and its control frequency is not known")
    try:
        return Representation(form=form, rotation=rotation, step=1 / (entry.control_hz or 1), pieces=tuple(pieces))
    except InputError as error:
        raise InputError(f"source {name!r}: {error}") from None
