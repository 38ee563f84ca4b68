"""Looking at shards: `inspect` shows rows, `stats` counts them, `lint` checks them."""
