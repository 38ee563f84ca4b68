"""Merges byte pairs over integers, compiled: turns codes of whole batches into token ids, in exactly the order of `tokenizers`.

BPE merges the pair of lowest rank, the leftmost first, until no pair has a rank. Three things make that fast and keep it
exact (`fasttok.codec.shortcuts` checks the conditions of the first two, for each vocabulary):

- atoms: merges inside one code that no neighbour can prevent are done in advance, once per vocabulary;
- ladder: a run of coefficients 0 is halved by the merges (Z, Z), (ZZ, ZZ), ... before any other merge can reach it, so its
  symbols follow from its length;
- all other merges are found by a search for a minimum that has no branch to mispredict: each place contains `rank << 6 | place`
  of the pair that begins there, blocks of 64 places store their minimum (one vector scan), and a merge changes at most three
  blocks.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic
from numpy.typing import NDArray

from fasttok.codec.tables import EncodeTables
from fasttok.common.jit import compiled, inlined

BLOCK_BITS = 6
BLOCK = 1 << BLOCK_BITS
HIGHEST_CODE = np.int32(2**31 - 1)
NONE = np.int32(2**31 - 1)  # no pair here
EMPTY = np.int64(-1)
# Columns of the tables of atoms and of runs of coefficients 0: the number of symbols; how many symbols before it an atom
# replaces, or what comes before the code that follows a run; and the symbols.
COUNT, BACK, FIRST = range(3)
CONTEXT = BACK
DONE, NOT_FINITE, NO_TABLE, NO_SYMBOL = range(4)
LIMIT = 2.0**30  # of a coefficient: codes have 32 bits
# What comes before a code: no coefficient 0, several of them, or one that stays alone.
AFTER_OTHER, AFTER_ZEROS, AFTER_ZERO = range(3)
# Classes of codes. BLANK is ' ', which may begin a word; SPACE is any other white space.
LETTER, NUMBER, OTHER, SPACE, BLANK, UNKNOWN = range(6)


def pair_table(merges: NDArray[np.int32], size: int) -> NDArray[np.int64]:
    """Makes a table of the ranks of pairs: `pairs[pairs[left] + right]` is `left << 32 | rank`.

    An entry with another `left` belongs to another pair: then (left, right) has no rank. A rank is found without a search,
    because the rows of the sparse (left, right) matrix are shifted until they do not collide.

    Args:
        merges: (m, 3) of left, right and new symbol, in order of rank.
        size: number of symbols; `size` itself may be looked up and has no pair.

    >>> pairs = pair_table(np.array([[0, 1, 2]], np.int32), 3)
    >>> int(pairs[pairs[0] + 1]) == 0 << 32 | 0
    True
    """
    rank = {(left, right): r for r, (left, right) in enumerate(merges[:, :2].tolist())}
    rows = np.array([(left, right, r) for (left, right), r in sorted(rank.items())], np.int32).reshape(-1, 3)
    counts = np.bincount(rows[:, 0], minlength=size)
    starts = np.concatenate([[0], np.cumsum(counts)])
    base, pairs = _shift(rows, starts, np.argsort(-counts, kind="stable"), size)
    return np.concatenate([base + len(base), pairs])


@compiled
def _shift(
    rows: NDArray[np.int32], starts: NDArray[np.int64], order: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Shifts each row to the first place where it fits, fullest rows first."""
    base = np.zeros(size + 1, np.int64)
    pairs = np.full(4 * len(rows) + 2 * size + 2, EMPTY, np.int64)
    free = 0
    for left in order:
        row = rows[starts[left] : starts[left + 1]]
        if len(row) == 0:
            break
        while pairs[free] != EMPTY:
            free += 1
        at = max(0, free - row[0, 1])
        place = 0
        while place < len(row):
            if at + size >= len(pairs):
                pairs = np.concatenate((pairs, np.full(len(pairs), EMPTY, np.int64)))
            if pairs[at + row[place, 1]] == EMPTY:
                place += 1
            else:
                at, place = at + 1, 0
        for place in range(len(row)):
            pairs[at + row[place, 1]] = np.int64(left) << 32 | row[place, 2]
        base[left] = at
    return base, pairs


@inlined
def key_at(place: int, left: int, right: int, pairs: NDArray[np.int64]) -> np.int32:
    """Returns the key of a place: rank and place of the pair that begins there, NONE if there is none."""
    entry = pairs[pairs[left] + right]
    key = np.int32(entry << BLOCK_BITS | place & (BLOCK - 1))
    return NONE if entry >> 32 != left else key


def _least_of_block(_typingctx: Any, keys: Any, _first: Any) -> Any:
    """Finds the least of keys[first:first + BLOCK], read as one vector: by itself, the compiler gathers them one by one."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, element = ir.VectorType(ir.IntType(32), BLOCK), ir.IntType(32)
        data = builder.gep(context.make_array(signature.args[0])(context, builder, args[0]).data, [args[1]])
        values = builder.load(builder.bitcast(data, ir.PointerType(vector)), align=4)
        name = f"llvm.vector.reduce.smin.v{BLOCK}i32"
        return builder.call(get_or_insert_function(builder.module, ir.FunctionType(element, [vector]), name), [values])

    return types.int32(keys, types.int64), codegen


least_of_block: Any = intrinsic(_least_of_block)  # the compiler passes the first argument


@inlined
def block_minimum(keys: NDArray[np.int32], block: int) -> np.int32:
    """Returns the least key of a block."""
    least: np.int32 = least_of_block(keys, block << BLOCK_BITS)
    return least


@inlined
def merge_all(
    symbols: NDArray[np.int32],
    before: NDArray[np.int32],
    after: NDArray[np.int32],
    keys: NDArray[np.int32],
    minima: NDArray[np.int32],
    count: int,
    pairs: NDArray[np.int64],
    made: NDArray[np.int32],
) -> None:
    """Merges `symbols[:count]` in place, which leaves the chain 0, after[0], ...; a symbol's place is where it begins.

    Args:
        symbols: symbols of the row, and one after them that no merge has.
        before: memory for the place of the symbol before each, -1 for none.
        after: memory for the place of the symbol after each.
        keys: memory for rank and place of the pair that begins at each place, see `key_at`.
        minima: memory for the least key of each block of places.
        count: how many symbols there are.
        pairs: see `pair_table`.
        made: (merges,) the new symbol of each rank.
    """
    blocks = (count + BLOCK - 1) >> BLOCK_BITS
    for i in range(count):
        before[i] = i - 1
        after[i] = i + 1
        keys[i] = key_at(i, symbols[i], symbols[i + 1], pairs)
    keys[count : blocks << BLOCK_BITS] = NONE
    for block in range(blocks):
        minima[block] = block_minimum(keys, block)
    while True:
        best, at = minima[0], 0
        for block in range(1, blocks):
            if minima[block] >> BLOCK_BITS < best >> BLOCK_BITS:
                best, at = minima[block], block
        if best == NONE:
            return
        i = at << BLOCK_BITS | best & (BLOCK - 1)
        j = after[i]
        k = after[j]
        h = before[i]
        new = made[best >> BLOCK_BITS]
        symbols[i] = new
        after[i] = k
        before[k] = i
        keys[j] = NONE
        keys[i] = key_at(i, new, symbols[k], pairs)
        if h >= 0:
            keys[h] = key_at(h, symbols[h], new, pairs)
            if h >> BLOCK_BITS != at:
                minima[h >> BLOCK_BITS] = block_minimum(keys, h >> BLOCK_BITS)
        minima[at] = block_minimum(keys, at)
        if j >> BLOCK_BITS != at:
            minima[j >> BLOCK_BITS] = block_minimum(keys, j >> BLOCK_BITS)


@inlined
def contraction(codes: NDArray[np.int32], i: int) -> int:
    """Returns the length of 's 't 'm 'd 're 've 'll at place i, or 0."""
    if codes[i] != ord("'") or i + 1 >= len(codes):
        return 0
    a = codes[i + 1]
    if a == ord("s") or a == ord("t") or a == ord("m") or a == ord("d"):
        return 2
    if i + 2 < len(codes):
        b = codes[i + 2]
        if (b == ord("e") and (a == ord("r") or a == ord("v"))) or (a == ord("l") and b == ord("l")):
            return 3
    return 0


@inlined
def class_of(code: int, classes: NDArray[np.uint8]) -> int:
    """Returns the class of a code. A code beyond the table ends any word; `encode_rows` then asks for a larger table."""
    return classes[code] if code < len(classes) else UNKNOWN


@inlined
def word_end(codes: NDArray[np.int32], i: int, classes: NDArray[np.uint8]) -> int:
    r"""Returns the end of the word that begins at place i, by GPT-2's pattern over characters whose classes are given.

    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

    >>> classes = np.array([BLANK, LETTER], np.uint8)
    >>> word_end(np.array([0, 1, 1, 0], np.int32), 0, classes)
    3
    """
    short: int = contraction(codes, i)
    if short:
        return i + short
    n = len(codes)
    kind = class_of(codes[i], classes)
    end = i + 1
    if kind == BLANK and end < n and class_of(codes[end], classes) < SPACE:
        kind = class_of(codes[end], classes)
    if kind < SPACE:
        while end < n and class_of(codes[end], classes) == kind:
            end += 1
        return end
    while end < n and class_of(codes[end], classes) >= SPACE:
        end += 1
    return end if end == n or end - i == 1 else end - 1


def _other_codes(_typingctx: Any, codes: Any, _first: Any, _zero: Any) -> Any:
    """Finds which of codes[first:first + BLOCK] are not `zero`: one bit for each, the lowest for the first."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(32), BLOCK)
        data = builder.gep(context.make_array(signature.args[0])(context, builder, args[0]).data, [args[1]])
        values = builder.load(builder.bitcast(data, ir.PointerType(vector)), align=4)
        place = ir.Constant(ir.IntType(32), 0)
        single = builder.insert_element(ir.Constant(vector, ir.Undefined), args[2], place)
        zeros = builder.shuffle_vector(single, single, ir.Constant(vector, [0] * BLOCK))
        return builder.bitcast(builder.icmp_signed("!=", values, zeros), ir.IntType(BLOCK))

    return types.uint64(codes, types.int64, types.int32), codegen


other_codes: Any = intrinsic(_other_codes)  # the compiler passes the first argument


def _lowest_bit(_typingctx: Any, _bits: Any) -> Any:
    """Finds the place of the lowest bit that is set. At least one must be set."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


lowest_bit: Any = intrinsic(_lowest_bit)  # the compiler passes the first argument


@inlined
def codes_of(
    coefs: NDArray[np.float64], low: int, high: int, codes: NDArray[np.int32]
) -> tuple[int, np.int32, np.int32]:
    """Writes the codes of one row of coefficients; returns (how many were moved into [low, high], the least code, the highest).

    If the least is -1, a coefficient is not finite or far out of any range. Everything is done in one vector loop.
    """
    lowest, highest, least, most = np.float64(low), np.float64(high), HIGHEST_CODE, np.int32(0)
    moved, strange = 0, 0
    for i in range(len(coefs)):
        value = coefs[i]
        fine = abs(value) < LIMIT
        strange += not fine
        inside = value if fine else lowest
        inside = lowest if inside < lowest else inside
        inside = highest if inside > highest else inside
        moved += inside != value
        code = np.int32(np.int32(inside) - np.int32(low))
        codes[i] = code
        least, most = min(least, code), max(most, code)
    return moved, np.int32(-1) if strange else least, most


@inlined
def put_zeros(run: int, symbols: NDArray[np.int32], count: int, zero_runs: NDArray[np.int32]) -> tuple[int, int]:
    """Appends a run of coefficients 0 to `symbols[:count]`; returns (the new count, what comes before the next code)."""
    longest = len(zero_runs) >> 1
    while run >= len(zero_runs):
        symbols[count] = zero_runs[longest, FIRST]
        count, run = count + 1, run - longest
    for column in range(FIRST, zero_runs.shape[1]):
        symbols[count + column - FIRST] = zero_runs[run, column]
    return count + zero_runs[run, COUNT], zero_runs[run, CONTEXT]


@inlined
def put_codes(
    codes: NDArray[np.int32],
    i: int,
    stop: int,
    zero: int,
    symbols: NDArray[np.int32],
    count: int,
    atoms: NDArray[np.int32],
    zero_runs: NDArray[np.int32],
) -> tuple[int, int, int]:
    """Appends the atoms of the codes [i, stop) to `symbols[:count]`; returns (DONE or what is wrong, the new count, place).

    Most coefficients are 0; they are skipped 64 at a time. `codes` must have a spare block after its end. Whole rows of the
    tables are copied, although only their first symbols count, since that takes no branch.
    """
    began = i  # start of a run of coefficients 0
    for first in range(i, stop, BLOCK):
        bits: np.uint64 = other_codes(codes, first, np.int32(zero))
        if stop - first < BLOCK:
            bits &= (np.uint64(1) << np.uint64(stop - first)) - np.uint64(1)
        while bits:
            place = first + lowest_bit(bits)
            bits &= bits - np.uint64(1)
            count, context = put_zeros(place - began, symbols, count, zero_runs)
            began = place + 1
            atom = 3 * np.int64(codes[place]) + context
            if atom >= len(atoms):
                return NO_TABLE, count, place
            if atoms[atom, COUNT] == 0:
                return NO_SYMBOL, count, place
            count -= atoms[atom, BACK]
            for column in range(FIRST, atoms.shape[1]):
                symbols[count + column - FIRST] = atoms[atom, column]
            count += atoms[atom, COUNT]
    if stop > began:
        count, _ = put_zeros(stop - began, symbols, count, zero_runs)
    return DONE, count, stop


@inlined
def strange_place(coefs: NDArray[np.float64]) -> int:
    """Returns the place of the first coefficient that is not finite or far out of any range. There must be one."""
    place = 0
    while abs(coefs[place]) < LIMIT:
        place += 1
    return place


@compiled
def encode_rows(
    coefs: NDArray[np.float64],
    low: int,
    high: int,
    tables: EncodeTables,
    out: NDArray[np.int32],
    lengths: NDArray[np.int64],
    clamped: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Encodes rounded coefficients (batch, n) to token ids.

    Args:
        coefs: (batch, n) whole numbers.
        low: smallest coefficient that has a code; smaller ones are moved to it.
        high: largest coefficient that has a code; larger ones are moved to it.
        tables: tables of the vocabulary.
        out: (batch * n * tables.longest_atom,) gets the ids of all rows, joined.
        lengths: (batch,) gets how many ids each row has.
        clamped: (batch,) gets how many coefficients of each row were moved.

    Returns:
        (DONE, number of ids, number of coefficients that were moved), or (what is wrong, row, place). What is wrong is
        NOT_FINITE, NO_TABLE (the code is beyond the tables) or NO_SYMBOL.
    """
    # The tables that rows use are taken out once, because each time references are counted.
    classes, one_word, atoms, zero_runs = tables.classes, tables.one_word, tables.atoms, tables.zero_runs
    pairs, made = tables.pairs, tables.made
    separator, width = tables.symbols, coefs.shape[1]  # the separator ends a word: no merge has it
    zero = -low if len(zero_runs) > 1 else -1
    room = width * (tables.longest_atom + 1) + atoms.shape[1] + zero_runs.shape[1] + BLOCK + 1
    symbols, keys, minima = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room >> BLOCK_BITS, np.int32)
    before, after = np.empty(room, np.int32), np.empty(room, np.int32)
    padded = np.empty(width + BLOCK, np.int32)
    codes = padded[:width]
    total, moved = 0, 0
    for row in range(len(coefs)):
        clamped[row], least, most = codes_of(coefs[row], low, high, codes)
        if least < 0:
            return NOT_FINITE, row, strange_place(coefs[row])
        moved += clamped[row]
        words = len(classes) > 0 and not (one_word[0] <= least and most < one_word[1])
        count: Any = np.int64(0)  # with a constant 0, numba would compile twice what it is passed to
        i: Any = np.int64(0)
        stop = width
        while i < width:
            if words:
                if codes[i] >= len(classes):
                    return NO_TABLE, row, i
                stop = word_end(codes, i, classes)
                if i:
                    symbols[count] = separator
                    count += 1
            what, count, i = put_codes(padded, i, stop, zero, symbols, count, atoms, zero_runs)
            if what != DONE:
                return what, row, i
        symbols[count] = separator
        merge_all(symbols, before, after, keys, minima, count, pairs, made)
        place, began = 0, total
        while place < count:
            if symbols[place] != separator:
                out[total] = symbols[place]
                total += 1
            place = after[place]
        lengths[row] = total - began
    return DONE, total, moved
