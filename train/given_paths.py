"""What a command line of `train` names and is not there: refused before JAX is imported, which takes seconds. Imports no JAX."""

from pathlib import Path

from fasttok.common.given_paths import check_tokenizer, did_you_mean
from fasttok.common.urls import is_url
from fasttok.errors import InputError, require_installed
from pipelines.shards.manifest import Manifest
from train.config import TrainConfig
from train.runs.run_folder import load_config

TRAINING = ("jax", "optax", "orbax", "PIL")  # packages that training and acting need, of the extra `train`
WEIGHTS_EXPECTED = (
    "a folder or file of safetensors (PaliGemma, openpi's PyTorch model, lerobot's pi0.5, our own export), an openpi checkpoint "
    "folder (with params/), or an .npz of openpi's names"
)


def check_training(config: TrainConfig) -> None:
    """Refuses what `fasttok-train` cannot start from. A run that goes on has its own parameters and text tokenizer already.

    Raises:
        InputError: a package of the extra `train` is missing, or shards, a run, weights or a tokenizer are not there.
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
    """Refuses a folder that is no finished SHARDS; a URL is looked at when it is read.

    Raises:
        InputError: there is no manifest, or it cannot be used.
    """
    if not is_url(str(folder)):
        Manifest.load(str(folder))


def check_weights(path: Path) -> None:
    """Refuses weights that are not there.

    Raises:
        InputError: there is no such file or folder.
    """
    if not path.exists():
        raise InputError(f"--weights {path} does not exist{did_you_mean(path)}; expected {WEIGHTS_EXPECTED}")


def check_text_tokenizer(path: str | Path) -> None:
    """Refuses the file of a text tokenizer that is not there.

    Raises:
        InputError: there is no such file.
    """
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist{did_you_mean(path)}; expected a tokenizer.json")


def check_questions(folder: Path) -> None:
    """Refuses a folder of `--vqa` that is no dataset.

    Raises:
        InputError: it has no dataset.yaml.
    """
    if not (folder / "dataset.yaml").is_file():
        raise InputError(
            f"{folder} has no dataset.yaml{did_you_mean(folder) if not folder.exists() else ''}; expected a VQA dataset such as "
            "`fasttok-pipelines index` takes"
        )
