"""MetaWorld, a world that others made: from its scripted experts to a policy that acts in it.

`tasks`, `robot`, `scene` and `questions` need no simulator; `simulator` and what imports it need the package metaworld 3.1.1.
"""
