"""`fasttok-pipelines check DATASET`: a doctor for recordings of robots, who needs no shards.

One file for each family of findings. `action_meaning` also answers for others whether an action is absolute, a delta or a
velocity.
"""
