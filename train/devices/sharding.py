"""Where arrays live: a mesh of data x fsdp devices. Rows are divided among all; parameters and optimiser state among `fsdp`.

With fsdp 1 every device has all parameters (data parallelism). With more, each has a slice, which XLA gathers layer by layer
where it is used; gradients are summed back into the slices. One device is the mesh 1 x 1: there is no other code path.
"""

from collections.abc import Mapping
from typing import Any, cast

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from numpy.typing import NDArray

from fasttok.errors import InputError
from train.learning.layer_paths import STACKED
from train.params import Tree

SMALL = 1024  # arrays of fewer numbers are repeated


def make_mesh(fsdp: int, batch_size: int, accumulate: int = 1) -> Mesh:
    """All devices of all processes as (devices / fsdp, fsdp).

    Args:
        fsdp: devices among which parameters are divided.
        batch_size: rows of a step.
        accumulate: microbatches of a step.

    Raises:
        InputError: the numbers do not divide.
    """
    count = jax.device_count()
    if count % fsdp:
        raise InputError(f"--fsdp is {fsdp}, expected a divisor of the {count} devices")
    if batch_size // accumulate % count:
        raise InputError(
            f"--batch-size {batch_size} in {accumulate} microbatches does not divide among {count} devices; "
            f"expected a multiple of {count * accumulate}"
        )
    return Mesh(np.asarray(jax.devices()).reshape(count // fsdp, fsdp), ("data", "fsdp"))


def of_rows(mesh: Mesh) -> NamedSharding:
    """Arrays whose first axis is the row."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def of_tree(tree: Any, mesh: Mesh) -> Any:
    """Where each array of a tree lives: divided along its largest axis that divides, but for the layers'.

    Args:
        tree: parameters, optimiser state, or shapes of them.
        mesh: the devices.

    Returns:
        The same tree with a NamedSharding in place of each array.
    """

    def one(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        names = {str(getattr(key, "key", getattr(key, "name", key))) for key in path}
        first = 1 if names & set(STACKED) else 0  # a scan walks along the layers
        size = mesh.shape["fsdp"]
        axes = [i for i in range(first, len(leaf.shape)) if leaf.shape[i] % size == 0]
        if size == 1 or not axes or np.prod(leaf.shape) < SMALL:
            return NamedSharding(mesh, PartitionSpec())
        widest = max(axes, key=lambda i: leaf.shape[i])
        return NamedSharding(mesh, PartitionSpec(*("fsdp" if i == widest else None for i in range(len(leaf.shape)))))

    return jax.tree_util.tree_map_with_path(one, tree)


def put_rows(batch: Mapping[str, NDArray[Any]], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows of a global batch, on its devices."""
    return {name: jax.make_array_from_process_local_data(of_rows(mesh), value) for name, value in batch.items()}


def put_tree(tree: Tree, mesh: Mesh) -> Tree:
    """A host's or another mesh's arrays where they belong."""
    return cast(Tree, jax.tree.map(jax.device_put, tree, of_tree(tree, mesh)))


def abstract(tree: Tree) -> Tree:
    """Shapes to restore a checkpoint into, wherever it was written: arrays without a place of their own go to one device here."""
    here = SingleDeviceSharding(jax.local_devices()[0]) if jax.process_count() == 1 else None

    def shape(x: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, "sharding", None) or here)

    return cast(Tree, jax.tree.map(shape, tree))
