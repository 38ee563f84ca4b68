"""The demo, and the worked examples that it is made of."""
