"""The parts of the demo's page, in the order in which it shows them."""
