"""Numbers, each written to `benchmarks/results/` with its command, versions, hardware and date."""
