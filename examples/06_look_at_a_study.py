"""Look at a study: which recipe acts better, which keeps what it knew, and how sure is that?

    pip install '.[train]'
    python examples/06_look_at_a_study.py

`fasttok-study run` trains every recipe with several seeds, plays them in closed loop, and writes results.json. That
takes most of an hour, so this example reads results that come with the repository: run it in a checkout. They were
measured on generated data, the tabletop world.
"""

# %% The study's question, its seeds and episodes, and the time that its runs took.
import json
from pathlib import Path

from my_robot import run

study = json.loads(Path("benchmarks/results/study_presets.json").read_text())
print(study["question"])
minutes = f"{study['seconds'] / 60:.0f} minutes on {study['hardware']}"
print(f"{len(study['seeds'])} seeds, {study['episodes']} episodes each, {minutes}\n")

# %% Success in the world, as a share with its 95 % interval, and the questions that the model still answers afterwards.
print(f"{'recipe':14}{'success':>9}  {'interval':<14}{'':32}{'questions':>9}")
for arm in sorted(study["arms"], key=lambda arm: -arm["metrics"]["success/seen"]["mean"]):
    success, questions = (arm["metrics"][name] for name in ("success/seen", "vqa"))
    low, mean, high = (round(30 * success[key]) for key in ("low", "mean", "high"))
    line = "".join("o" if at == mean else "-" if low <= at <= high else " " for at in range(31))
    interval = f"[{success['low']:.0%}, {success['high']:.0%}]"
    print(f"{arm['arm']:14}{success['mean']:>9.0%}  {interval:<14}|{line}|{questions['mean']:>9.0%}")

# %% Draw a figure over all studies of the repository: what insulation gains or costs, by how well the action tokens are learnt.
run("fasttok-study figure --out tour/figure --overwrite")
print("\nyour own: fasttok-study run train/configs/presets.yaml --help")
