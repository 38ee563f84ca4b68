"""The packaged mixtures, a YAML file each; those of a project are in a folder of its name."""
