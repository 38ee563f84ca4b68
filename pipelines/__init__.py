"""Beam jobs from episodes, VQA and captions to interleaved shards. Empty on purpose: `pipelines.shards` needs no Beam."""
