"""Reads and writes files: the tokenizer folder, and chunks and ids in npz, Parquet and JSON lines."""
