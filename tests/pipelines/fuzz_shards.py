"""Changes bytes of a shard at random, gives it a manifest that fits, and looks at it: in a process that may die of it.

python -m tests.pipelines.fuzz_shards SHARDS OUT CASES
"""

import hashlib
import json
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

from fasttok.errors import InputError
from pipelines.look.lint import LintConfig, check
from pipelines.look.row_counts import count_rows
from pipelines.shards import ShardReader


def main(shards: Path, out: Path, cases: int) -> None:
    """Prints how often each verb found, refused or let pass; anything else that is raised is a bug."""
    shutil.copytree(shards, out)
    manifest = json.loads((shards / "manifest.json").read_text())
    shard = manifest["shards"][0]
    data = (shards / shard["name"]).read_bytes()
    counts: Counter[str] = Counter()
    for case in range(cases):
        chance = random.Random(case)
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            ends = (chance.randrange(20_000), chance.randrange(len(data) - 9_000, len(data)))  # offsets and footers
            damaged[chance.choice((*ends, chance.randrange(len(data))))] = chance.randrange(256)
        (out / shard["name"]).write_bytes(damaged)
        shard["sha256"] = hashlib.sha256(damaged).hexdigest()
        (out / "manifest.json").write_text(json.dumps(manifest))
        reader = ShardReader(str(out))
        found = check(reader, LintConfig(str(out)))
        counts["lint found" if found.of("error") else "lint found nothing"] += 1
        try:
            count_rows(reader)
            counts["stats counted"] += 1
        except InputError:
            counts["stats refused"] += 1
    print(json.dumps(counts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
