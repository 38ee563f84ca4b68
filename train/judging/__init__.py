"""Numbers on other episodes, answers and films: how good a run is."""
