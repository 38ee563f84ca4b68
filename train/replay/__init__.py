"""Predicted against recorded actions of an episode, as a page: `fasttok-evaluate replay`."""
