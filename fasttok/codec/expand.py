"""Converts the token ids of whole batches back to coefficients, compiled. Each row is read as far as it can be.

A native id stands for whole codes. A published id stands for UTF-8 bytes: the end of a character that an earlier id began,
whole characters, and the beginning of another one. `Pieces` has all three for each id.

Nearly all ids stand for a few whole codes. These are copied eight at a time, without looking at what they are. Only rows with
another kind of id, or with a fault, are read code by code.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from fasttok.common.jit import compiled, inlined

WHOLE, OUTSIDE, NOT_UTF8, TOO_HIGH = range(4)  # what is wrong with a row
# Columns of Pieces.ids
START, STOP, HIGHEST, HEAD, HEAD_BITS, TAIL_NEED, TAIL_BITS, TAIL_LEAST = range(8)
SLACK = 8  # values that are copied at once; arrays have as many spare values after their end
NEVER = -1  # in HEAD: the bytes of the id occur in no UTF-8 text
NO_LEAD = 9  # size for a byte that begins no character: longer than any piece's end, so it never makes one


class Pieces(NamedTuple):
    """What ids stand for.

    Attributes:
        codes: (codes,) the whole codes of all ids, joined.
        ids: (V, 8) for each id: the places in `codes` where its codes start (START) and stop (STOP), and the highest of them
            (HIGHEST); how many continuation bytes come first (HEAD), and their bits (HEAD_BITS); and of a character that it
            begins but does not finish, the number of bytes that are missing (TAIL_NEED), its bits so far (TAIL_BITS), and the
            least code that a character of that many bytes may have (TAIL_LEAST).
        plain: (V,) place where the codes of an id start, shifted left by 32, plus their number; -1 for ids that begin or end
            inside a character.
        highest: the largest code of all.
    """

    codes: NDArray[np.int64]
    ids: NDArray[np.int64]
    plain: NDArray[np.int64]
    highest: int

    def values(self, offset: int) -> NDArray[np.float64]:
        """Returns (codes + SLACK,): the coefficient of each code, which is the code plus `offset`."""
        return np.append((self.codes + offset).astype(np.float64), np.zeros(SLACK))


def pieces_of(pieces: Sequence[bytes | str]) -> Pieces:
    """Makes `Pieces` from each id's bytes (published) or codes (native).

    >>> pieces_of(["ab", "c"]).codes
    array([97, 98, 99])
    >>> pieces_of(["ab", "c"]).ids[:, [START, STOP, HIGHEST]]
    array([[ 0,  2, 98],
           [ 2,  3, 99]])
    """
    codes: list[int] = []
    ids = np.zeros((len(pieces), 8), np.int64)
    for columns, piece in zip(ids, pieces, strict=True):
        columns[START] = len(codes)
        if isinstance(piece, str):
            whole = piece
        else:
            whole = _split(piece, columns)
        codes += map(ord, whole)
        columns[STOP], columns[HIGHEST] = len(codes), max(map(ord, whole), default=0)
    plain = np.where(
        (ids[:, HEAD] == 0) & (ids[:, TAIL_NEED] == 0), ids[:, START] << 32 | ids[:, STOP] - ids[:, START], -1
    )
    return Pieces(np.array(codes, np.int64), ids, plain, int(ids[:, HIGHEST].max(initial=0)))


def _split(piece: bytes, columns: NDArray[np.int64]) -> str:
    """Returns the whole characters of an id's bytes, and writes what comes before and after them to its columns."""
    first = next((i for i, byte in enumerate(piece) if not _continues(byte)), len(piece))
    last = next((i for i in range(len(piece) - 1, -1, -1) if not _continues(piece[i])), len(piece))
    if last < len(piece) and len(piece) - last >= _size(piece[last]):
        last = len(piece)
    columns[HEAD], columns[HEAD_BITS] = first, _bits(0, piece[:first])
    try:
        whole = piece[first:last].decode()
    except UnicodeDecodeError:
        whole, columns[HEAD] = "", NEVER
    if first > 3 or (last < len(piece) and _size(piece[last]) == NO_LEAD):
        columns[HEAD] = NEVER
    elif last < len(piece):
        size = _size(piece[last])
        columns[TAIL_NEED] = size - (len(piece) - last)
        columns[TAIL_BITS] = _bits(piece[last] & (0xFF >> (size + 1)), piece[last + 1 :])
        columns[TAIL_LEAST] = (0x80, 0x800, 0x10000)[size - 2]
    return whole


def _continues(byte: int) -> bool:
    return byte & 0xC0 == 0x80


def _bits(bits: int, continuation: bytes) -> int:
    for byte in continuation[:3]:
        bits = bits << 6 | byte & 0x3F
    return bits


def _size(lead: int) -> int:
    """Returns the number of bytes of the UTF-8 character that this byte begins; NO_LEAD if it begins none."""
    if lead < 0x80:
        return 1
    for first, end, size in ((0xC2, 0xE0, 2), (0xE0, 0xF0, 3), (0xF0, 0xF5, 4)):
        if first <= lead < end:
            return size
    return NO_LEAD


@inlined
def is_character(code: int, least: int) -> bool:
    """Whether a code may be encoded in as many bytes as it was.

    >>> is_character(0x41, 0), is_character(0xD800, 0x800)
    (True, False)
    """
    return least <= code <= 0x10FFFF and not 0xD800 <= code < 0xE000


@inlined
def expand_row(
    ids: NDArray[np.int64], pieces: Pieces, top: int, offset: int, out: NDArray[np.float64]
) -> tuple[int, int, int]:
    """Writes the coefficients of a row of ids to `out`, up to its first fault, then zeros.

    Returns (how many there were, what is wrong, where).
    """
    count, fault, place = expand_codes(ids, pieces, top, offset, out)
    out[count:] = 0
    return count, fault, place


@inlined
def expand_codes(
    ids: NDArray[np.int64], pieces: Pieces, top: int, offset: int, out: NDArray[np.float64]
) -> tuple[int, int, int]:
    """Does what `expand_row` does, except that it writes no zeros after the last coefficient."""
    width = len(out)
    count = 0
    bits, need, least = np.int64(0), np.int64(0), np.int64(0)
    for place in range(len(ids)):
        number = ids[place]
        if number < 0 or number >= len(pieces.ids):
            return count, OUTSIDE, place
        start, stop, head = pieces.ids[number, START], pieces.ids[number, STOP], pieces.ids[number, HEAD]
        if head != 0 or need != 0:
            if head < 0 or head > need or (head < need and (start < stop or pieces.ids[number, TAIL_NEED] != 0)):
                return count, NOT_UTF8, place
            bits = bits << (6 * head) | pieces.ids[number, HEAD_BITS]
            need -= head
            if need == 0:
                if not is_character(bits, least):
                    return count, NOT_UTF8, place
                if bits > top:
                    return count, TOO_HIGH, count
                if count < width:
                    out[count] = bits + offset
                count += 1
        if pieces.ids[number, HIGHEST] > top:
            while pieces.codes[start] <= top:
                if count < width:
                    out[count] = pieces.codes[start] + offset
                start, count = start + 1, count + 1
            return count, TOO_HIGH, count
        for i in range(min(stop - start, width - count)):
            out[count + i] = pieces.codes[start + i] + offset
        count += stop - start
        if pieces.ids[number, TAIL_NEED] != 0:
            need, bits = pieces.ids[number, TAIL_NEED], pieces.ids[number, TAIL_BITS]
            least = pieces.ids[number, TAIL_LEAST]
    if need != 0:
        return count, NOT_UTF8, len(ids) - 1
    return count, WHOLE, 0


def _copy_eight(_typingctx: Any, values: Any, _first: Any, out: Any, _at: Any) -> Any:
    """Copies values[first:first + SLACK] to out[at:at + SLACK]."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.PointerType(ir.VectorType(ir.DoubleType(), SLACK))

        def place(array: int) -> Any:
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            return builder.bitcast(builder.gep(data, [args[array + 1]]), vector)

        builder.store(builder.load(place(0), align=8), place(2), align=8)
        return context.get_dummy_value()

    return types.none(values, types.int64, out, types.int64), codegen


copy_eight: Any = intrinsic(_copy_eight)  # the compiler passes the first argument


@compiled
def expand_rows(
    ids: NDArray[np.int64],
    ends: NDArray[np.int64],
    pieces: Pieces,
    top: int,
    values: NDArray[np.float64],
    offset: int,
    out: NDArray[np.float64],
) -> bool:
    """Writes the coefficients of rows of ids to `out`, as far as all rows are whole.

    Args:
        ids: ids of all rows, joined.
        ends: (rows,) where each row ends.
        pieces: what ids stand for.
        top: the largest code allowed.
        values: see `Pieces.values`.
        offset: added to each code.
        out: (rows * n + SLACK,) gets the coefficients.

    Returns:
        Whether every row is whole and has exactly n coefficients; if not, `find_faults` says what is wrong.
    """
    plain, known = pieces.plain, pieces.ids
    check = pieces.highest > top
    begin, width = 0, (len(out) - SLACK) // max(len(ends), 1)
    for row in range(len(ends)):
        at, end = row * width, (row + 1) * width
        place = begin
        while place < ends[row]:
            number = ids[place]
            if number < 0 or number >= len(plain):
                break
            start, count = plain[number] >> 32, plain[number] & 0xFFFFFFFF
            if start < 0 or at + count > end or (check and known[number, HIGHEST] > top):
                break
            for i in range(0, count, SLACK):
                copy_eight(values, start + i, out, at + i)
            at, place = at + count, place + 1
        if place < ends[row] or at < end:
            whole = out[row * width : end]
            count, fault, _ = expand_row(ids[begin : ends[row]], pieces, top, offset, whole)
            if fault != WHOLE or count != width:
                return False
        begin = ends[row]
    return True


@compiled
def find_faults(
    ids: NDArray[np.int64],
    ends: NDArray[np.int64],
    pieces: Pieces,
    top: int,
    offset: int,
    out: NDArray[np.float64],
    found: NDArray[np.int64],
) -> None:
    """Writes the coefficients of rows of ids, some of which have faults, and says what is wrong with them.

    Args:
        ids: ids of all rows, joined.
        ends: (rows,) where each row ends.
        pieces: what ids stand for.
        top: the largest code allowed.
        offset: added to each code.
        out: (rows, n) gets what each row contains up to its first fault, then zeros.
        found: (rows, 3) gets how many coefficients there were, including those beyond n; what is wrong; and at which id, or for
            TOO_HIGH at which coefficient.
    """
    begin = 0
    for row in range(len(ends)):
        found[row] = expand_row(ids[begin : ends[row]], pieces, top, offset, out[row])
        begin = ends[row]
