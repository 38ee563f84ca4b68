"""First entries for datasets that have none."""
