"""The colours of every page."""

PALETTE = ("#2f6fde", "#e0662b", "#2a9d74", "#9a5bd0", "#c93a5b", "#7a8a1f", "#1d97b8", "#8b6a4f")
KIND_COLOURS = {"robot": PALETTE[0], "vqa": PALETTE[1], "caption": PALETTE[2]}  # of rows of shards, on every page
