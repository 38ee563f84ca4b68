"""Stage 1: makes an INDEX from source files, and its statistics."""
