"""Checks that everything exists that a command line of `train` names, before JAX is imported.

Importing JAX takes seconds; this module does not import it.
"""

from pathlib import Path

from fasttok.common.given_paths import check_tokenizer, did_you_mean
from fasttok.common.urls import as_typed, is_url
from fasttok.errors import InputError, require_installed
from pipelines.shards.manifest import Manifest
from train.config import TrainConfig
from train.runs.run_folder import load_config

TRAINING = ("jax", "optax", "orbax", "PIL")  # packages of the extra `train`, which training and acting need
WEIGHTS_EXPECTED = (
    "a folder or file of safetensors (PaliGemma, openpi's PyTorch model, lerobot's pi0.5, our own export), an openpi checkpoint "
    "folder (with params/), or an .npz of openpi's names"
)


def check_training(config: TrainConfig) -> None:
    """Checks that `fasttok-train` has everything that it starts from.

    A run that is resumed has its own parameters and text tokenizer already, so the places that they came from are not checked.

    Raises:
        InputError: a package of the extra `train` is missing, or shards, a run, weights or a tokenizer do not exist.
    """
    require_installed(TRAINING, "train", "training")
    for shards in (config.shards, config.held_out):
        if shards is not None:
            check_shards(shards)
    if config.data.tokenizer is not None:
        check_tokenizer(config.data.tokenizer)
    if config.resume:
        return
    if config.init_from is not None:
        load_config(config.init_from)
    if config.weights is not None:
        check_weights(config.weights)
    if config.data.text_tokenizer is not None:
        check_text_tokenizer(config.data.text_tokenizer)


def check_shards(folder: Path) -> None:
    """Checks that a folder contains finished shards. A URL is checked only when it is read.

    Raises:
        InputError: there is no manifest, or it cannot be used.
    """
    if not is_url(as_typed(folder)):
        Manifest.load(as_typed(folder))


def check_weights(path: Path) -> None:
    """Checks that the file or folder of --weights exists.

    Raises:
        InputError: there is no such file or folder.
    """
    if not path.exists():
        raise InputError(f"--weights {path} does not exist{did_you_mean(path)}; expected {WEIGHTS_EXPECTED}")


def check_text_tokenizer(path: str | Path) -> None:
    """Checks that the file of a text tokenizer exists.

    Raises:
        InputError: there is no such file.
    """
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist{did_you_mean(path)}; expected a tokenizer.json")


def check_questions(folder: Path) -> None:
    """Checks that the folder of `--vqa` is a dataset.

    Raises:
        InputError: it has no dataset.yaml.
    """
    if not (folder / "dataset.yaml").is_file():
        raise InputError(
            f"{folder} has no dataset.yaml{did_you_mean(folder) if not folder.exists() else ''}; expected a VQA dataset such as "
            "`fasttok-pipelines index` takes"
        )
