"""Megatron-Energon: its WebDataset format, a buffer of 1,000 samples, two workers of its savable loader, Pillow decodes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from megatron.energon import (
    Cooker,
    CrudeSample,
    DefaultTaskEncoder,
    Sample,
    WorkerConfig,
    basic_sample_keys,
    edataclass,
    get_savable_loader,
    get_train_dataset,
    get_val_dataset,
    stateless,
)
from megatron.energon.flavors import BaseWebdatasetFactory
from stage import BATCH, BUFFER, WORKERS, Samples, Source, pixels, run, stacked
from tar_files import write_tars

IN_SEQUENCE = 100  # samples that its documentation reads in a row from one place


@edataclass
class Step(Sample):
    """A sample."""

    number: int
    image: Any
    state_values: Any
    chunk: Any


def cook(sample: CrudeSample) -> Step:
    """A sample's arrays; the chunk is as wide as the state."""
    state = np.frombuffer(sample["state"], np.float32)
    chunk = np.frombuffer(sample["chunk"], np.float32).reshape(-1, len(state))
    return Step(
        **basic_sample_keys(sample),
        number=int(sample["id"]),
        image=pixels(sample["jpg"]),
        state_values=state,
        chunk=chunk,
    )


def batched(_encoder: Any, samples: list[Step]) -> Any:
    """Stacked."""
    return stacked([(one.number, one.image, one.state_values, one.chunk) for one in samples])


class Encoder(DefaultTaskEncoder[Any, Any, Any, Any]):
    """Batches of arrays."""

    decoder = None  # bytes as they are
    cookers = (Cooker(stateless(cook)),)
    batch = stateless(batched)

    def encode_batch(self, batch: Any) -> Any:
        """As it is."""
        return batch


class Opened:
    """Energon's savable loader."""

    def __init__(self, data: Any) -> None:
        self._loader = get_savable_loader(data, prefetch_factor=4)

    def __iter__(self) -> Iterator[Samples]:
        yield from (Samples(*batch) for batch in self._loader)

    def state(self) -> Any:
        """Of the loader and its workers."""
        return self._loader.save_state_rank()

    def restore(self, state: Any) -> None:
        """Sets it."""
        self._loader.restore_state_rank(state)


class Energon:
    """Tar files with an index."""

    def __init__(self, variant: str) -> None:
        self.variant = variant

    def write(self, source: Source, folder: Path) -> None:
        """What `energon prepare` makes of crude samples."""
        names = [path.name for path in write_tars(source, folder)]
        BaseWebdatasetFactory.prepare_dataset(
            folder, names, split_parts_ratio=[("train", 1.0)], shuffle_seed=None, workers=2
        )
        kind = {"__module__": "megatron.energon", "__class__": "CrudeWebdataset"}
        (folder / ".nv-meta" / "dataset.yaml").write_text(yaml.safe_dump(kind))

    def open(self, folders: Sequence[Path], order: str, weights: Sequence[float]) -> Opened:
        """An epoch, or a metadataset's blend without end."""
        config = WorkerConfig(rank=0, world_size=1, num_workers=WORKERS)
        options = {"worker_config": config, "batch_size": BATCH, "task_encoder": Encoder()}
        if order == "sequential":
            return Opened(get_val_dataset(folders[0], split_part="train", **options))
        shuffle = {"shuffle_buffer_size": BUFFER, "max_samples_per_sequence": IN_SEQUENCE}
        if order != "mixture":  # without repeating, a state near the end of an epoch begins the epoch anew
            return Opened(get_train_dataset(folders[0], repeat=order == "resumed", **shuffle, **options))
        blend = [{"weight": weight, "path": str(folder)} for folder, weight in zip(folders, weights, strict=True)]
        meta = {"__module__": "megatron.energon", "__class__": "MetadatasetV2", "splits": {"train": {"blend": blend}}}
        path = folders[0].with_name("blend.yaml")
        path.write_text(yaml.safe_dump(meta))
        return Opened(get_train_dataset(path, **shuffle, **options))


if __name__ == "__main__":
    run(Energon)
