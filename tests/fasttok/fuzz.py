"""Damages small RLDS directories in every way it can think of and reads them: run by test_fuzz.py in a process of little memory.

python fuzz.py WORK COUNT DIRECTORY...      prints {outcome: mutants} as JSON; exits 1 at the first that does not end as it should
"""

import json
import resource
import shutil
import signal
import struct
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fasttok.episodes import rlds
from fasttok.episodes.episode import BadRecord
from fasttok.episodes.features import UnsupportedError
from fasttok.episodes.tfrecord import FOOTER, HEADER, masked_crc
from fasttok.errors import InputError

MEMORY = 1 << 30  # more than the process has when it starts
SECONDS = 20
Rng = np.random.Generator
NUMBERS = [0, -1, -2, 1, 2, 3, 7, 255, 2**31, 2**40, 2**62, 2**64]
WORDS = ["", "int8", "bool", "bfloat16", "float64", "string", "uint64", "complex64", "V9999999999", "none", "bytes", "zlib",
         "../../../etc/passwd", "{SPLIT}", "steps", "\x00", "a" * 5000, "1e9"]  # fmt: skip


def flip_bits(rng: Rng, data: bytearray) -> bytearray:
    """Anywhere: mostly the checksums notice."""
    for _ in range(int(rng.integers(1, 9))):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return data


def truncate(rng: Rng, data: bytearray) -> bytearray:
    """A copy that was interrupted."""
    return data[: rng.integers(0, len(data))]


def splice(rng: Rng, data: bytearray) -> bytearray:
    """Bytes lost, doubled or zeroed in the middle."""
    a, b = sorted(rng.integers(0, len(data), 2).tolist())
    return [data[:a] + data[b:], data[:b] + data[a:], data[:a] + bytes(b - a) + data[b:]][rng.integers(3)]


def frame(body: bytes, length: int | None = None) -> bytes:
    """A record with valid checksums, whatever length it declares."""
    head = struct.pack("<Q", len(body) if length is None else length)
    return head + struct.pack("<I", masked_crc(head)) + body + struct.pack("<I", masked_crc(body))


def first_record(data: bytearray) -> tuple[bytearray, bytearray]:
    """(body of the first record, the rest of the file)."""
    (length,) = struct.unpack("<Q", data[:8])
    return data[HEADER : HEADER + length], data[HEADER + length + FOOTER :]


def declare_length(rng: Rng, data: bytearray) -> bytearray:
    """A header that is valid and wrong."""
    body, rest = first_record(data)
    length = int(rng.choice([0, 1, len(body) - 1, len(body) + 1, 2**31, 2**40, 2**63]))
    return bytearray(frame(bytes(body), length)) + rest


def damage_message(rng: Rng, data: bytearray) -> bytearray:
    """Past the checksums, into the parser: lengths, tags and numbers of the message itself."""
    body, rest = first_record(data)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(body)))
        kind = rng.integers(4)
        if kind == 0:
            body[at] = int(rng.integers(256))
        elif kind == 1:  # a length of up to 2**63
            body[at : at + 1] = b"\xff" * int(rng.integers(1, 12)) + b"\x7f"
        elif kind == 2:
            body = body[:at] + body[at + int(rng.integers(1, 50)) :] or bytearray(b"\n")
        else:
            body = body[:at] + body[max(at - 40, 0) :]
    return bytearray(frame(bytes(body))) + rest


RECORDS: list[Callable[[Rng, bytearray], bytearray]] = [
    flip_bits, truncate, splice, declare_length, damage_message, damage_message, damage_message,
]  # fmt: skip


def damage_json(rng: Rng, node: Any) -> Any:
    """One value, key or branch of a JSON document, replaced."""
    paths: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            paths.append((value, key))
            if isinstance(value[key], dict | list):
                walk(value[key])

    walk(node)
    for _ in range(int(rng.integers(1, 3))):
        parent, key = paths[rng.integers(len(paths))]
        kind = rng.integers(5)
        if isinstance(parent, dict) and key not in parent:
            continue
        if kind == 0:
            if isinstance(parent, dict):
                del parent[key]
            else:
                parent[key] = None
        elif kind == 1:
            number = NUMBERS[rng.integers(len(NUMBERS))]
            parent[key] = str(number) if rng.random() < 0.5 else number
        elif kind == 2:
            parent[key] = WORDS[rng.integers(len(WORDS))]
        elif kind == 3:
            other, place = paths[rng.integers(len(paths))]
            if not isinstance(other, dict) or place in other:
                parent[key] = json.loads(json.dumps(other[place], default=str))
        else:
            parent[key] = [None, [], {}, [[]], {"a": {}}, True, 1.5][rng.integers(7)]
    return node


def mutate(rng: Rng, folder: Path) -> str:
    """Damages one file of a directory; returns how."""
    kind = rng.choice(["records", "records", "features.json", "dataset_info.json"])
    if kind == "records":
        files = sorted(f for f in folder.rglob("*") if f.is_file() and "tfrecord" in f.name)
        file = files[rng.integers(len(files))]
        change = RECORDS[rng.integers(len(RECORDS))]
        file.write_bytes(change(rng, bytearray(file.read_bytes())))
        return change.__name__
    file = folder / str(kind)
    if rng.random() < 0.15:
        file.write_bytes(flip_bits(rng, bytearray(file.read_bytes())))
    else:
        file.write_text(json.dumps(damage_json(rng, json.loads(file.read_text()))))
    return str(kind)


def outcome(folder: Path) -> str:
    """Reads everything there is: a clear error, or counted records."""
    try:
        directory = rlds.open_raw(str(folder))
    except UnsupportedError:
        return "left to TFDS"
    except InputError as error:
        return "an error" if str(folder) in str(error) else f"an error that does not say where: {error}"
    bad = good = 0
    for file, declared in directory.declared.items():
        count = 0
        for record in directory.read_file(file):
            if isinstance(record, BadRecord):
                assert record.reason, record
                bad += 1
                count += record.records
            else:
                good += 1
                count += 1
        assert count >= declared, f"{file}: {declared} records declared, {count} accounted for"
    return "rejects" if bad else "read"


def hang(*_: Any) -> None:
    """Ends a mutant that takes too long."""
    raise TimeoutError(f"more than {SECONDS} s of processor time")


def main(work: Path, count: int, directories: list[Path]) -> None:
    """Reads `count` mutants."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    signal.signal(signal.SIGPROF, hang)
    outcomes: Counter[str] = Counter()
    for number in range(count):
        rng = np.random.default_rng(number)
        folder = work / "mutant" / "1.0.0"
        shutil.rmtree(folder.parent, ignore_errors=True)
        shutil.copytree(directories[number % len(directories)], folder)
        how = "nothing"
        try:
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            how = mutate(rng, folder)
            outcomes[f"{how}: {outcome(folder)}"] += 1
        except BaseException:
            traceback.print_exc()
            print(f"mutant {number} of {directories[number % len(directories)]}, damaged by {how}", file=sys.stderr)
            sys.exit(1)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [Path(p) for p in sys.argv[3:]])
