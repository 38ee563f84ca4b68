"""Serves a run to robots: reads their requests, computes chunks in batches, and answers."""
