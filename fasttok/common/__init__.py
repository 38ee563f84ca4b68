"""Code that all four packages use: the console, HTML pages, JSON artefacts, compiled kernels, facts about the machine."""
