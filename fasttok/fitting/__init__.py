"""Fits a tokenizer on episodes, reports on held-out ones, and writes the README of the saved folder."""
