"""Fitting a tokenizer on episodes, with a report on held-out ones and the README of the saved folder."""
