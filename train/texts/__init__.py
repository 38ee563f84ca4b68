"""The text vocabulary, and how long the rows of the shards are."""
