"""Numbers, each written to `benchmarks/results/` with its command, versions, hardware and date."""

from train.devices.jax_setup import set_up_jax

set_up_jax()
