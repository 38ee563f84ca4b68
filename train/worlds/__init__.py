"""Worlds of other projects for `fasttok-evaluate --env`. Their packages are imported only when somebody uses the world."""
