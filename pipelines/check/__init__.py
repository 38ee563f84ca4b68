"""`fasttok-pipelines check DATASET`: checks recordings of robots before any shards are built.

Each family of findings has a file of its own. `pipelines.drafts` also uses `action_meaning`, to find out whether an action is
absolute, a delta or a velocity.
"""
