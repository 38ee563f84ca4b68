"""Worlds that others made, for `fasttok-evaluate --env`; none of their packages is imported before it is asked for."""
