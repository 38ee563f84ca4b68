"""A run as a server: what a robot sends, what it gets, and who waits for whom."""
