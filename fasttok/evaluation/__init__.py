"""How good a tokenizer is: metrics, rate against distortion, and the HTML pages that show them."""
