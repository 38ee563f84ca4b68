"""The folder of a run, RUN: its files, its log, its checkpoints, and how a run stops and resumes."""
