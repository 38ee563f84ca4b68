"""tf.data over RLDS: files shuffled, episodes flattened to steps, a buffer of 1,000 steps, two threads; TensorFlow decodes."""

import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from stage import BATCH, BUFFER, SIDE, WORKERS, Samples, Source, run

from fasttok.episodes.tfds import tfds


class Opened:
    """tf.data's iterator; its state is a checkpoint with the buffer in it."""

    def __init__(self, data: Any) -> None:
        options = tf.data.Options()
        options.threading.private_threadpool_size = WORKERS
        options.experimental_symbolic_checkpoint = True
        self._iterator = iter(data.with_options(options))
        self._place = Path(tempfile.gettempdir())

    def __iter__(self) -> Iterator[Samples]:
        for batch in self._iterator:
            arrays = {name: value.numpy() for name, value in batch.items()}
            yield Samples(arrays["id"], arrays["image"], arrays["state"], arrays["chunk"])

    def state(self) -> Any:
        """The path of a checkpoint's files."""
        prefix = Path(tempfile.mkdtemp(prefix="loading-rlds-")) / "iterator"
        return tf.train.Checkpoint(iterator=self._iterator).write(str(prefix))

    def restore(self, state: Any) -> None:
        """Reads the checkpoint."""
        tf.train.Checkpoint(iterator=self._iterator).read(state)


class Rlds:
    """TFDS files of episodes; each step holds its chunk, as in the other formats."""

    def __init__(self, variant: str) -> None:
        self.variant = variant

    def write(self, source: Source, folder: Path) -> None:
        """As TFDS writes them; the JPEGs stay as they are."""
        module = tfds()
        from tensorflow_datasets.core import dataset_info

        f = module.features
        step = {
            "id": f.Scalar(np.int64),
            "image": f.Image(shape=(SIDE, SIDE, 3), encoding_format="jpeg"),
            "state": f.Tensor(shape=source.state.shape[1:], dtype=np.float32),
            "chunk": f.Tensor(shape=source.chunk.shape[1:], dtype=np.float32),
        }
        folder.mkdir(parents=True)
        identity = dataset_info.DatasetIdentity("loading", module.core.Version("1.0.0"), str(folder), "loading")
        info = module.core.DatasetInfo(builder=identity, features=f.FeaturesDict({"steps": f.Dataset(step)}))
        writer = module.core.SequentialWriter(info, max(1, len(list(source.episodes())) // 8))
        writer.initialize_splits(["train"])
        for steps in source.episodes():
            made = [
                {
                    "id": source.id(i),
                    "image": io.BytesIO(source.jpeg(i)),
                    "state": source.state[i],
                    "chunk": source.chunk[i],
                }
                for i in steps
            ]
            writer.add_examples({"train": [{"steps": made}]})
        writer.close_all()

    def open(self, folders: Sequence[Path], order: str, weights: Sequence[float]) -> Opened:
        """Steps decoded in parallel after the shuffle, as the encoded ones fill the buffer."""
        module, found = tfds(), []
        for folder in folders:
            builder = module.builder_from_directory(str(folder))
            skip = {"steps": {"image": module.decode.SkipDecoding()}}
            files = module.ReadConfig(shuffle_seed=0)
            data = builder.as_dataset(
                split="train", decoders=skip, shuffle_files=order != "sequential", read_config=files
            )
            if order == "mixture":
                data = data.repeat()
            data = data.flat_map(lambda episode: episode["steps"])
            found.append(data if order == "sequential" else data.shuffle(BUFFER, seed=0))
        data = found[0]
        if order == "mixture":
            data = tf.data.Dataset.sample_from_datasets(found, [w / sum(weights) for w in weights], seed=0)
        data = data.map(decoded, num_parallel_calls=WORKERS)
        return Opened(data.batch(BATCH).prefetch(2))


def decoded(step: dict[str, Any]) -> dict[str, Any]:
    """With pixels."""
    return {**step, "image": tf.io.decode_jpeg(step["image"], channels=3)}


if __name__ == "__main__":
    run(Rlds)
