"""Token ids back to coefficients, compiled: rows of ids of whole batches, each as far as it can be read.

A native id stands for whole codes. A published id stands for UTF-8 bytes: the end of a character that an earlier id began,
whole characters, the beginning of one. `Pieces` holds these three parts for each id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common.jit import compiled, inlined

WHOLE, OUTSIDE, NOT_UTF8, TOO_HIGH = range(4)  # what is wrong with a row
# Columns of Pieces.parts
START, STOP, HIGHEST, HEAD, HEAD_BITS, TAIL_NEED, TAIL_BITS, TAIL_LEAST = range(8)
NEVER = -1  # in HEAD: bytes that are no part of any UTF-8 text
NO_LEAD = 9  # longer than any piece's end, so that such a byte never makes a character


@dataclass(frozen=True, eq=False)
class Pieces:
    """What ids stand for.

    Attributes:
        codes: the whole codes of all ids, joined.
        parts: (V, 8) int64, of each id: where in `codes` its own start and stop, and the highest of them; how many
            continuation bytes come first, and their bits; how many bytes the character still needs that it begins last, its
            bits so far, and the least code that a character of that many bytes may have.
    """

    codes: NDArray[np.int64]
    parts: NDArray[np.int64]


def pieces_of(pieces: Sequence[Any]) -> Pieces:
    """The parts of each id's bytes (published) or codes (native)."""
    codes: list[int] = []
    parts = np.zeros((len(pieces), 8), np.int64)
    for part, piece in zip(parts, pieces, strict=True):
        part[START] = len(codes)
        if isinstance(piece, str):
            whole = piece
        else:
            first = next((i for i, byte in enumerate(piece) if not _continues(byte)), len(piece))
            last = next((i for i in range(len(piece) - 1, -1, -1) if not _continues(piece[i])), len(piece))
            if last < len(piece) and len(piece) - last >= _size(piece[last]):
                last = len(piece)
            part[HEAD], part[HEAD_BITS] = first, _bits(0, piece[:first])
            try:
                whole = piece[first:last].decode()
            except UnicodeDecodeError:
                whole, part[HEAD] = "", NEVER
            if first > 3 or (last < len(piece) and _size(piece[last]) == NO_LEAD):
                part[HEAD] = NEVER
            elif last < len(piece):
                size = _size(piece[last])
                part[TAIL_NEED] = size - (len(piece) - last)
                part[TAIL_BITS] = _bits(piece[last] & (0xFF >> (size + 1)), piece[last + 1 :])
                part[TAIL_LEAST] = (0x80, 0x800, 0x10000)[size - 2]
        codes += map(ord, whole)
        part[STOP], part[HIGHEST] = len(codes), max(map(ord, whole), default=0)
    return Pieces(np.array(codes, np.int64), parts)


def _continues(byte: int) -> bool:
    return byte & 0xC0 == 0x80


def _bits(bits: int, continuation: bytes) -> int:
    for byte in continuation[:3]:
        bits = bits << 6 | byte & 0x3F
    return bits


def _size(lead: int) -> int:
    """Bytes of the UTF-8 character that this byte begins; NO_LEAD for one that begins none."""
    return (
        1
        if lead < 0x80
        else 2
        if 0xC2 <= lead < 0xE0
        else 3
        if 0xE0 <= lead < 0xF0
        else 4
        if 0xF0 <= lead < 0xF5
        else NO_LEAD
    )


@inlined
def is_character(code: int, least: int) -> bool:
    """Whether a code may be encoded in as many bytes as it was."""
    return least <= code <= 0x10FFFF and not 0xD800 <= code < 0xE000


@compiled
def expand_rows(
    ids: NDArray[np.int64],
    ends: NDArray[np.int64],
    codes: NDArray[np.int64],
    parts: NDArray[np.int64],
    top: int,
    offset: int,
    out: NDArray[np.float64],
    counts: NDArray[np.int64],
    faults: NDArray[np.int64],
) -> bool:
    """Coefficients of rows of ids.

    Args:
        ids: of all rows, joined; ends: where each row ends. codes, parts: see Pieces. top: the largest code allowed.
            offset: added to each code.
        out: (rows, n), gets what each row holds up to its first fault, then zeros. counts: (rows,) how many coefficients
            there were, also those beyond n. faults: (rows, 2) what is wrong, and at which id, or coefficient if TOO_HIGH.

    Returns:
        Whether every row is whole and has exactly n coefficients.
    """
    fine = True
    begin, width = 0, out.shape[1]
    for row in range(len(ends)):
        count, fault, at = 0, WHOLE, 0
        bits, need, least = np.int64(0), np.int64(0), np.int64(0)
        for place in range(begin, ends[row]):
            number = ids[place]
            if number < 0 or number >= len(parts):
                fault, at = OUTSIDE, place - begin
                break
            start, stop, head = parts[number, START], parts[number, STOP], parts[number, HEAD]
            if head != 0 or need != 0:
                if head < 0 or head > need or (head < need and (start < stop or parts[number, TAIL_NEED] != 0)):
                    fault, at = NOT_UTF8, place - begin
                    break
                bits = bits << (6 * head) | parts[number, HEAD_BITS]
                need -= head
                if need == 0:
                    if not is_character(bits, least):
                        fault, at = NOT_UTF8, place - begin
                        break
                    if bits > top:
                        fault, at = TOO_HIGH, count
                        break
                    if count < width:
                        out[row, count] = bits + offset
                    count += 1
            if parts[number, HIGHEST] > top:
                while codes[start] <= top:
                    if count < width:
                        out[row, count] = codes[start] + offset
                    start, count = start + 1, count + 1
                fault, at = TOO_HIGH, count
                break
            for i in range(min(stop - start, width - count)):
                out[row, count + i] = codes[start + i] + offset
            count += stop - start
            if parts[number, TAIL_NEED] != 0:
                need, bits, least = parts[number, TAIL_NEED], parts[number, TAIL_BITS], parts[number, TAIL_LEAST]
        if fault == WHOLE and need != 0:
            fault, at = NOT_UTF8, ends[row] - begin - 1
        for i in range(count, width):
            out[row, i] = 0
        counts[row], faults[row, 0], faults[row, 1] = count, fault, at
        fine = fine and fault == WHOLE and count == width
        begin = ends[row]
    return fine
