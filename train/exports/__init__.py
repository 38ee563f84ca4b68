"""A run's policy in the files of other projects: a module for each layout, and what they share.

source       what is exported: a run, one of its robots, and how to store it
layout       what a layout is: what it refuses, what it cannot hold, its files and its tensors
tensors      which tensor gets which name and shape
tensor_file  safetensors, written a tensor at a time
ours         our own layout
openpi       what openpi's PI0Pytorch reads (pi0.5)
lerobot      what lerobot's PI05Policy reads (pi0.5)
pi0_fast     what lerobot's PI0FastPolicy reads, of a run that only writes FAST tokens
"""
