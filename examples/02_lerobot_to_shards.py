"""From a LeRobot folder to shards that a trainer reads: check, index, fit, build, look.

    pip install '.[pipelines]'
    python examples/02_lerobot_to_shards.py

The five commands below are all that your own recordings need. Here they run on a small made-up robot
(examples/my_robot.py), so that the example needs no download. Replace tour/my_robot with your folder.
"""

# %% Record: 24 episodes, two tasks, one camera, as LeRobot v2.1 writes them.
from my_robot import record, run

record("tour/my_robot", episodes=24)

# %% Check the recordings before you build on them: counts, times, outliers, cameras; is this action absolute or a delta?
run("fasttok-pipelines check tour/my_robot")

# %% Index: one row per episode, with standardised actions. What cannot be used is counted, with the reason.
run("fasttok-pipelines index tour/my_robot --out tour/INDEX --overwrite")

# %% Fit a FAST tokenizer on the indexed actions, for chunks of one second.
run("fasttok fit tour/INDEX --out tour/TOKENIZER --seconds 1.0 --vocab-size 256 --overwrite")

# %% Build shards: `all` mixes every dataset of the INDEX. A sample is a picture, the task, the state and the next second of
# actions.
run(
    "fasttok-pipelines build all --index tour/INDEX --tokenizer tour/TOKENIZER --out tour/SHARDS --samples 1000 --overwrite"
)

# %% Look at some rows: pictures, actions as recorded and as decoded, tokens. Open the page in a browser.
run("fasttok-pipelines inspect tour/SHARDS --html tour/rows.html --overwrite")
