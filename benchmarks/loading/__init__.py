"""Decoded training batches of ours and of other readers, side by side, each in a process of its own."""
