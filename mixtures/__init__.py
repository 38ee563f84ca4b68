"""Mixtures: which datasets are mixed and how much of each, in YAML, exact quotas, and tables that explain them."""
