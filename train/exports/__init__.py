"""Exports a run's policy to the files of other projects. Each layout has a module; the others are shared.

source       what is exported: a run, one of its robots, and how to store it
layout       what a layout consists of: its checks, its limits, its files and its tensors
tensors      names and shapes of the tensors
tensor_file  writes safetensors, one tensor at a time
ours         our own layout
openpi       files that openpi's PI0Pytorch reads (pi0.5)
lerobot      files that lerobot's PI05Policy reads (pi0.5)
pi0_fast     files that lerobot's PI0FastPolicy reads, for a run that only writes FAST tokens
"""
