"""Environments of the readers that `benchmarks.loading` compares with: torch lies once on the disk, in lerobot's.

They are built as those of `make interop` are, in the same folder (`tests.interop.environments`): three conflict with
each other over fsspec, numpy and transformers.
"""

from tests.interop.environments import PACKAGE_SETS, PackageSet

LEROBOT = PACKAGE_SETS["lerobot"]
LOADING_SETS = {
    one.name: one
    for one in (
        PackageSet(
            "loading-lancedb",
            ("lerobot-lancedb==0.3.1", "webdataset==1.0.2", "torchdata==0.11.0"),
            ("lerobot_lancedb", "lancedb", "webdataset", "torchdata", "torch"),
            over=LEROBOT,
        ),
        PackageSet(
            "loading-energon", ("megatron-energon==7.4.1",), ("megatron.energon", "torch", "torchvision"), over=LEROBOT
        ),
        PackageSet("loading-streaming", ("mosaicml-streaming==0.13.0",), ("streaming", "torch"), over=LEROBOT),
    )
}
