"""The packaged mixtures, one YAML file each. Mixtures of another project are in a folder with its name."""
