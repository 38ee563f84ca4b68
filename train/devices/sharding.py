"""Places arrays on a mesh of data x fsdp devices: rows are divided among all, parameters and optimiser state among `fsdp`.

With fsdp 1 every device has all parameters (data parallelism). With more, each device has a slice. XLA gathers the slices layer
by layer when they are used, and sums gradients back into the slices. A single device is a mesh of 1 x 1, with the same code path.
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

SMALL = 1024  # every device has a whole copy of arrays with fewer numbers


def make_mesh(fsdp: int, batch_size: int, accumulate: int = 1) -> Mesh:
    """Returns a mesh of all devices of all processes, (devices / fsdp, fsdp).

    Args:
        fsdp: number of devices among which parameters are divided.
        batch_size: rows of a step.
        accumulate: microbatches of a step.

    Raises:
        InputError: `fsdp` does not divide the devices, or the devices do not divide the rows of a microbatch.
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
    """Returns the sharding of arrays whose first axis is the row."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def of_tree(tree: Any, mesh: Mesh) -> Any:
    """Returns where each array of a tree is: divided along its largest axis that `fsdp` divides, but never along the layers.

    Args:
        tree: parameters, optimiser state, or shapes of them.
        mesh: the devices.

    Returns:
        The same tree with a NamedSharding in place of each array.
    """

    def one(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        names = {str(getattr(key, "key", getattr(key, "name", key))) for key in path}
        first = 1 if names & set(STACKED) else 0  # not along the layers: a scan runs along them
        size = mesh.shape["fsdp"]
        axes = [i for i in range(first, len(leaf.shape)) if leaf.shape[i] % size == 0]
        if size == 1 or not axes or np.prod(leaf.shape) < SMALL:
            return NamedSharding(mesh, PartitionSpec())
        widest = max(axes, key=lambda i: leaf.shape[i])
        return NamedSharding(mesh, PartitionSpec(*("fsdp" if i == widest else None for i in range(len(leaf.shape)))))

    return jax.tree_util.tree_map_with_path(one, tree)


def put_rows(batch: Mapping[str, NDArray[Any]], mesh: Mesh) -> dict[str, jax.Array]:
    """Puts this process's rows of a global batch on its devices."""
    return {name: jax.make_array_from_process_local_data(of_rows(mesh), value) for name, value in batch.items()}


def put_tree(tree: Tree, mesh: Mesh) -> Tree:
    """Puts arrays, from the host or from another mesh, where they belong on this mesh."""
    return cast(Tree, jax.tree.map(jax.device_put, tree, of_tree(tree, mesh)))


def abstract(tree: Tree) -> Tree:
    """Returns shapes to restore a checkpoint into, on whatever devices it was written.

    In a run of one process, arrays without a sharding of their own go to its first device.
    """
    here = SingleDeviceSharding(jax.local_devices()[0]) if jax.process_count() == 1 else None

    def shape(x: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, "sharding", None) or here)

    return cast(Tree, jax.tree.map(shape, tree))
