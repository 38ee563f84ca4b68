"""Stages 2 and 3: an INDEX and a mixture to SHARDS."""
