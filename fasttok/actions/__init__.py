"""What robot actions are: embodiments, chunks, statistics, and the forms that actions can take."""
