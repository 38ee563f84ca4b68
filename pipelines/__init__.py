"""Beam jobs that turn robot episodes, VQA and captions into interleaved shards.

This file imports nothing, because `pipelines.shards` must work without Beam.
"""
