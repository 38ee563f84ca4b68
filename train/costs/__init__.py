"""What a run costs before it starts: arithmetic, memory."""
