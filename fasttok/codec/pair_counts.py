"""Counts the pairs of neighbouring symbols in a corpus, and keeps the counts right while pairs are merged; compiled.

The corpus is one array of 16-bit symbols, row after row, changed in place. Each pair has a linked list of the rows that may
contain it, so that a merge reads only these. Besides the corpus, this takes 8 bytes for each (pair, row) that occurs.

All integers in the kernels are int64: for any other type, and for a constant, numba would compile `add` once more.

Only pairs with the newest symbol gain occurrences, so a pair that has become rare stays rare. Rare pairs are forgotten now and
then, which keeps the tables within a core's cache.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasttok.common.jit import compiled, inlined

FREE = np.uint64(2**64 - 1)
USED, NODES, SPARE = range(3)  # places in `PairTables.state`
START, LENGTH = 0, 1  # columns of a row
ROW, NEXT = 0, 1  # columns of a node
BLOCK = 512  # counts that are looked through at once
PAIR, HEAD, SEEN = range(3)  # columns of a known pair


class PairTables(NamedTuple):
    """The pairs of a corpus, by number, and the rows that contain them.

    Attributes:
        slots: hash table of pair << 32 | its number, where a pair is left << 16 | right; FREE for an empty slot.
        counts: (n,) how often each pair occurs, by its number.
        known: (n, 3) the pair of each number (PAIR), the first node of its list of rows (HEAD), and the row added last (SEEN).
        nodes: (m, 2) nodes of lists: the row (ROW), and the next node or -1 (NEXT).
        state: (3,) pairs in use (USED), nodes ever used (NODES), the first node of the list of spare ones (SPARE).
    """

    slots: NDArray[np.uint64]
    counts: NDArray[np.int64]
    known: NDArray[np.int64]
    nodes: NDArray[np.int32]
    state: NDArray[np.int64]


class PairCounts:
    """Counts of the pairs in a corpus of rows. The object takes over the corpus and changes it."""

    def __init__(self, symbols: NDArray[np.uint16], lengths: NDArray[np.int64], alphabet: int) -> None:
        """Counts the pairs of a corpus.

        Args:
            symbols: symbols of all rows, joined.
            lengths: (rows,) how many symbols each row has.
            alphabet: how many symbols there are.
        """
        self.symbols = symbols
        self.rows = np.stack([np.cumsum(lengths) - lengths, lengths], axis=1)  # where each row starts, how long it is
        self.room = self.live = len(symbols)
        self.kept = 0
        self.step = 4 * int(lengths.max(initial=0)) + 4096  # room for what a row can add, with a reserve
        self.tables = PairTables(
            slots=np.full(1 << 12, FREE, np.uint64),
            counts=np.empty(0, np.int64),
            known=np.empty((0, 3), np.int64),
            nodes=np.empty((0, 2), np.int32),
            state=np.array([0, 0, -1], np.int64),
        )
        for start in range(0, len(lengths), 1024):
            rows = self.rows[start : start + 1024]
            most = int(rows[:, LENGTH].sum())
            self._reserve(min(most, alphabet**2), most)  # each pair once, each (pair, row) once
            count_rows(self.symbols, rows, start, self.tables)

    def best(self) -> tuple[int, int] | None:
        """Returns the most frequent pair; if several are, the one of smallest ids; None if no pair is left."""
        at = most_frequent(self.tables.counts[: self.tables.state[USED]], self.tables.known)
        if at < 0:
            return None
        pair = int(self.tables.known[at, PAIR])
        return pair >> 16, pair & 0xFFFF

    def count(self, pair: tuple[int, int]) -> int:
        """Returns how often a pair occurs."""
        at = find(self.tables.slots, pair[0] << 16 | pair[1])
        return int(self.tables.counts[at]) if at >= 0 else 0

    def forbid(self, pair: tuple[int, int]) -> None:
        """Makes sure that `best` never returns this pair again."""
        self.tables.counts[find(self.tables.slots, pair[0] << 16 | pair[1])] = -(2**62)

    def merge(self, pair: tuple[int, int], new: int) -> None:
        """Replaces a pair by the symbol `new`, everywhere."""
        at = int(find(self.tables.slots, pair[0] << 16 | pair[1]))
        while self.tables.known[at, HEAD] >= 0:  # the kernel stops if its tables might be too small for the next row
            self._reserve(self.step, self.step)
            self.live -= merge_pair(self.symbols, self.rows, at, pair[0], pair[1], new, self.tables)
        self.tables.counts[at] = 0
        if 2 * self.live < self.room:  # rows have shrunk: move them together, so that less memory is touched
            self.room = move_together(self.symbols, self.rows)
        if int(self.tables.state[USED]) > 2 * self.kept + 1024:
            self._forget()

    def _forget(self) -> None:
        """Drops pairs that occur less than twice."""
        self.kept = forget(int(self.tables.state[USED]), self.tables)
        size = self.kept + self.step
        tables = self.tables
        self.tables = tables._replace(
            slots=np.full(1 << (2 * size).bit_length(), FREE, np.uint64),
            counts=tables.counts[:size],
            known=tables.known[:size],
        )
        enter(self.tables.slots, self.tables.known[: self.kept])

    def _reserve(self, pairs: int, nodes: int) -> None:
        """Makes room for so many more pairs and nodes."""
        tables = self.tables
        need = int(tables.state[USED]) + pairs
        if need > len(tables.counts):
            size = max(need, 2 * len(tables.counts))
            tables = tables._replace(counts=_grown(tables.counts, size), known=_grown(tables.known, size))
        if 2 * len(tables.counts) > len(tables.slots):
            tables = tables._replace(slots=np.full(1 << (2 * len(tables.counts)).bit_length(), FREE, np.uint64))
            enter(tables.slots, tables.known[: tables.state[USED]])
        need = int(tables.state[NODES]) + nodes
        if need > len(tables.nodes):  # most of the memory: grows in small steps
            tables = tables._replace(nodes=_grown(tables.nodes, max(need, len(tables.nodes) * 5 // 4)))
        self.tables = tables


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    out = np.empty((size, *array.shape[1:]), array.dtype)  # pages that are never written cost nothing
    out[: len(array)] = array
    return out


@inlined
def slot(slots: NDArray[np.uint64], pair: int) -> np.int64:
    """Returns the slot in which a pair is, or would be entered."""
    key = np.uint64(pair)
    place = np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(24)) & (len(slots) - 1)
    while slots[place] != FREE and slots[place] >> np.uint64(32) != key:
        place = (place + 1) & (len(slots) - 1)
    return place


@compiled
def find(slots: NDArray[np.uint64], pair: int) -> np.int64:
    """Returns the number of a pair, or -1 if it has none."""
    entry = slots[slot(slots, pair)]
    return np.int64(-1) if entry == FREE else np.int64(entry & np.uint64(0xFFFFFFFF))


@compiled
def enter(slots: NDArray[np.uint64], known: NDArray[np.int64]) -> None:
    """Enters all known pairs into an empty hash table.

    >>> slots = np.full(8, FREE, np.uint64)
    >>> enter(slots, np.array([[5 << 16 | 7, -1, -1]]))
    >>> int(find(slots, 5 << 16 | 7)), int(find(slots, 5))
    (0, -1)
    """
    for number in range(len(known)):
        pair = known[number, PAIR]
        slots[slot(slots, pair)] = np.uint64(pair) << np.uint64(32) | np.uint64(number)


@inlined
def both(left: int, right: int) -> np.int64:
    """Returns a pair as one number."""
    return np.int64(left) << 16 | np.int64(right)


@inlined
def add(
    pair: int,
    change: int,
    row: int,
    slots: NDArray[np.uint64],
    counts: NDArray[np.int64],
    known: NDArray[np.int64],
    nodes: NDArray[np.int32],
    state: NDArray[np.int64],
) -> None:
    """Changes a pair's count, unless it was forgotten; if the count grows, notes that this row contains the pair.

    The tables are arguments of their own, because each time that they are taken out of `PairTables`, references are counted.
    """
    place = slot(slots, pair)
    if slots[place] == FREE:
        if change < 0:
            return
        number = state[USED]
        state[USED] += 1
        slots[place] = np.uint64(pair) << np.uint64(32) | np.uint64(number)
        counts[number], known[number, PAIR], known[number, HEAD], known[number, SEEN] = 0, pair, -1, -1
    else:
        number = np.int64(slots[place] & np.uint64(0xFFFFFFFF))
    counts[number] += change
    if change > 0 and known[number, SEEN] != row:
        known[number, SEEN] = row
        node = state[SPARE]
        if node >= 0:
            state[SPARE] = nodes[node, NEXT]
        else:
            node = state[NODES]
            state[NODES] += 1
        nodes[node, ROW] = row
        nodes[node, NEXT] = known[number, HEAD]
        known[number, HEAD] = node


@compiled
def count_rows(symbols: NDArray[np.uint16], rows: NDArray[np.int64], first: int, tables: PairTables) -> None:
    """Counts the pairs of some rows; the first row has the number `first`."""
    slots, counts, known, nodes, state = tables
    for i in range(len(rows)):
        row = symbols[rows[i, START] : rows[i, START] + rows[i, LENGTH]]
        place = 0
        while place + 1 < len(row):
            left, right = row[place], row[place + 1]
            times = 1
            place += 1
            while left == right and place + 1 < len(row) and row[place + 1] == right:
                times += 1
                place += 1
            add(both(np.int64(left), np.int64(right)), np.int64(times), first + i, slots, counts, known, nodes, state)


@compiled
def most_frequent(counts: NDArray[np.int64], known: NDArray[np.int64]) -> int:
    """Returns the number of the pair with the highest count above 0; if several have it, the smallest pair; -1 for none.

    >>> most_frequent(np.array([1, 4, 4]), np.array([[9, -1, -1], [8, -1, -1], [7, -1, -1]]))
    2
    """
    best, most = -1, np.int64(1)
    for first in range(0, len(counts), BLOCK):
        block = counts[first : first + BLOCK]
        top = np.int64(0)
        for count in block:  # a vector loop; most blocks do not need the next one
            top = max(top, count)
        if top < most:
            continue
        for i in range(len(block)):
            if block[i] > most or (block[i] == most and (best < 0 or known[first + i, PAIR] < known[best, PAIR])):
                best, most = first + i, block[i]
    return best


@compiled
def merge_pair(
    symbols: NDArray[np.uint16],
    rows: NDArray[np.int64],
    best: int,
    a: int,
    b: int,
    new: int,
    tables: PairTables,
) -> int:
    """Merges (a, b), pair number `best`, in its rows from left to right, as far as the tables have room for new pairs.

    Returns by how many symbols the rows shrank. If the pair's list of rows is not empty then, make room and call this again.

    Example: in x ab ab ab y, three merges remove (x, a), two (b, a) and (b, y), and add (x, new), two (new, new) and (new, y).
    """
    slots, counts, known, nodes, state = tables
    shrunk = 0
    while known[best, HEAD] >= 0:
        node = np.int64(known[best, HEAD])
        number = np.int64(nodes[node, ROW])
        most = 2 * rows[number, LENGTH] + 2
        if state[USED] + most > len(counts) or state[NODES] + most > len(nodes):
            break
        known[best, HEAD] = nodes[node, NEXT]
        start, stop = rows[number, START], rows[number, START] + rows[number, LENGTH]
        read, inner = start, np.int64(0)
        while read + 1 < stop and not (symbols[read] == a and symbols[read + 1] == b):
            read += 1
        write = read
        while read < stop:
            if read + 1 == stop or symbols[read] != a or symbols[read + 1] != b:
                symbols[write] = symbols[read]
                read, write = read + 1, write + 1
                continue
            if write > start:
                before = np.int64(symbols[write - 1])
                add(both(before, a), np.int64(-1), number, slots, counts, known, nodes, state)
                add(both(before, new), np.int64(1), number, slots, counts, known, nodes, state)
            while True:
                symbols[write] = new
                read, write = read + 2, write + 1
                if read + 1 >= stop or symbols[read] != a or symbols[read + 1] != b:
                    break
                inner += 1
            if read < stop:
                after = np.int64(symbols[read])
                add(both(b, after), np.int64(-1), number, slots, counts, known, nodes, state)
                add(both(new, after), np.int64(1), number, slots, counts, known, nodes, state)
        if inner:
            add(both(b, a), -inner, number, slots, counts, known, nodes, state)
            add(both(new, new), inner, number, slots, counts, known, nodes, state)
        shrunk += stop - write
        rows[number, LENGTH] = write - start
        nodes[node, NEXT] = state[SPARE]
        state[SPARE] = node
    return shrunk


@compiled
def forget(used: int, tables: PairTables) -> int:
    """Forgets pairs that occur less than twice, and frees their nodes; moves the others together, and returns their number."""
    _, counts, known, nodes, state = tables
    kept = 0
    for number in range(used):
        if counts[number] >= 2:
            counts[kept], known[kept, PAIR] = counts[number], known[number, PAIR]
            known[kept, HEAD], known[kept, SEEN] = known[number, HEAD], known[number, SEEN]
            kept += 1
            continue
        node = np.int64(known[number, HEAD])
        while node >= 0:
            following = np.int64(nodes[node, NEXT])
            nodes[node, NEXT] = state[SPARE]
            state[SPARE] = node
            node = following
    state[USED] = kept
    return kept


@compiled
def move_together(symbols: NDArray[np.uint16], rows: NDArray[np.int64]) -> int:
    """Closes the gaps between rows; returns where the last ends.

    >>> symbols, rows = np.array([1, 0, 2, 3], np.uint16), np.array([[0, 1], [2, 2]])
    >>> move_together(symbols, rows), symbols[:3].tolist()
    (3, [1, 2, 3])
    """
    end = 0
    for row in range(len(rows)):
        start = rows[row, START]
        rows[row, START] = end
        for i in range(rows[row, LENGTH]):
            symbols[end + i] = symbols[start + i]
        end += rows[row, LENGTH]
    return end
