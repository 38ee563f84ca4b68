"""A small language-conditioned tabletop world in numpy: blocks, two robots, an expert, datasets, a closed-loop environment.

world.py        blocks and hands on N tables: what pushing, grasping and carrying do
embodiments.py  two robots: what an action means to the world, and what they feel
render.py       64 x 64 pictures from above and from the wrist
tasks.py        instructions and success
scenes.py       where blocks are; splits: what is held out, and the spurious correlation
expert.py       a scripted demonstrator with human-like motion
vector.py       N environments at once: reset, step, success, followed, info
env.py          one environment, as `fasttok-evaluate` uses it
baselines.py    robots to compare with: the expert, one that trusts the correlation, and a blind one
questions.py    questions, answers and captions about scenes
rlds.py         demonstrations as RLDS datasets, written by TFDS
generate.py     the command that writes everything
"""
