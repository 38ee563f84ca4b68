"""Reads shards with the data loaders of other libraries; each module needs its library."""
