"""RUN, the folder of a run: its files, its log, stopping and going on."""
