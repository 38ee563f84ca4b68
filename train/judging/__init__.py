"""Measures how good a run is: on episodes that it was not trained on, by its answers to questions, and with films to look at."""
