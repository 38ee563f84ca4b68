"""MetaWorld, a world of another project: from its scripted experts to a policy that acts in it.

`tasks`, `robot`, `scene` and `questions` need no simulator. `simulator` and the modules that import it need the package
metaworld 3.1.1.
"""
