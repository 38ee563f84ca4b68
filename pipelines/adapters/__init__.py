"""Shards for the loaders of other libraries; each module needs its library."""
