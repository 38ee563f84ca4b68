"""How a dataset's actions can be represented, as its entry says what their columns are."""

from fasttok.actions.representation import ActionColumns, Representation
from fasttok.common.action_forms import ActionForm, RotationForm
from fasttok.episodes.index_file import IndexedEntry
from fasttok.errors import InputError


def representation(entry: IndexedEntry, name: str, form: ActionForm, rotation: RotationForm) -> Representation | None:
    """How the actions of a source are represented, None for as stored.

    Args:
        entry: of its dataset.
        name: of the source, for messages.
        form: how its actions are to be represented.
        rotation: how the rotations in them are to be represented.

    Raises:
        InputError: the dataset does not allow it.
    """
    if (form, rotation) == ("stored", "stored"):
        return None
    columns, at = {}, 0
    for piece, width in zip(entry.proprio, entry.proprio_widths, strict=True):
        columns[piece.rotation, piece.names or piece.feature, width] = tuple(range(at, at + width))
        at += width
    pieces, at = [], 0
    for piece, width in zip(entry.action, entry.action_widths, strict=True):
        key = piece.rotation, piece.names or piece.feature, width
        same = columns.get(key, ()) if piece.encoding == "absolute" else ()
        pieces.append(ActionColumns(at, width, piece.encoding, piece.rotation, piece.unit.endswith("/s"), same))
        at += width
    if any(made.rate for made in pieces) and not entry.control_hz:
        raise InputError(f"source {name!r}: its actions are velocities, and its control frequency is not known")
    try:
        return Representation(form=form, rotation=rotation, step=1 / (entry.control_hz or 1), pieces=tuple(pieces))
    except InputError as error:
        raise InputError(f"source {name!r}: {error}") from None
