"""Meshes, processes, the compiler's cache, and rows packed for a CPU."""
