"""Stages 2 and 3: make SHARDS from an INDEX and a mixture."""
