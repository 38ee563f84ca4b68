"""Train a small vision-language-action model, and see its losses fall.

    pip install '.[pipelines,train]'
    python examples/04_train.py

It trains on the shards of example 02. The model is tiny and the run is short: you see the commands at work, and do not
get a good policy.
"""

# %% Train. `ki_no_vlm` is knowledge insulation for shards without questions: the backbone learns action tokens, and a small
# expert learns to produce the actions themselves without changing the backbone.
import json
from pathlib import Path

from my_robot import need, run

need("tour/SHARDS/manifest.json", "02_lerobot_to_shards.py")
run(
    "fasttok-train --preset ki_no_vlm --shards tour/SHARDS --out tour/RUN --steps 60 --batch-size 16 --log-every 10 --overwrite"
)

# %% The log is a file with one line of numbers per logged step.
for line in Path("tour/RUN/metrics.jsonl").read_text().splitlines():
    row = json.loads(line)
    print(f"step {row['step']:3}: action tokens {row['loss_fast']:.2f}, flow {row['loss_flow']:.2f}")

# %% Draw it. The page shows losses, gradients, rates and all settings.
run("fasttok-train report tour/RUN")
