"""What the features of a dataset mean: its entry, and how the entry is applied to an episode."""
