"""Stage 1: source files -> an INDEX, and its statistics."""
