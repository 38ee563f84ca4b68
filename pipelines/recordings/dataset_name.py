"""What a file or folder of recordings is called as a dataset: its name in an INDEX, and in entries that mean it."""

import re

SUFFIXES = re.compile(r"\.(hdf5|h5|npz|npy|parquet)$")


def dataset_name(path: str) -> str:
    """A plain name, without the suffix of a file.

    >>> dataset_name("/data/ph/image v1.hdf5"), dataset_name("libero_90/"), dataset_name("...")
    ('image_v1', 'libero_90', 'dataset')
    """
    name = SUFFIXES.sub("", path.rstrip("/").rsplit("/", 1)[-1])
    return re.sub(r"[^\w.+-]+", "_", name).strip("._") or "dataset"
