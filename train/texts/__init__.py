"""The text vocabulary, and the lengths of the shards' rows in tokens."""
