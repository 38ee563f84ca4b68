"""A small language-conditioned tabletop world in numpy: blocks, two robots, an expert, datasets, a closed-loop environment.

world.py        blocks and a hand on a table: what pushing, grasping and carrying do
embodiments.py  two robots: what an action means to the world, and what they feel
render.py       64 x 64 pictures from above and from the wrist
tasks.py        scenes, instructions, success; what is held out
expert.py       a scripted demonstrator with human-like motion
env.py          reset, step, instruction, success, followed: what `python -m train.evaluate` drives
baselines.py    the expert and a blind policy, to compare a robot with
questions.py    questions, answers and captions about scenes
rlds.py         demonstrations as RLDS datasets, written by TFDS
generate.py     the command that writes everything
"""
