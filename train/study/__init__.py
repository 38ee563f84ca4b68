"""Studies: a grid of recipes and seeds from one pretrained VLM, evaluated in a world, as one table and one page."""
