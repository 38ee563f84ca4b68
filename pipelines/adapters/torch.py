"""Reads shards with PyTorch: an `IterableDataset` of whole batches, in an order that does not depend on the number of workers.

    dataset = ShardDataset("shards", 256, columns=["image/primary", "prompt", "action"])
    for batch in torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=4):
        step(batch["action"], batch["image/primary"])
        position = batch["read_state"]              # goes into the checkpoint
    dataset.load_state_dict(position)               # goes on after that batch, with any number of ranks and workers

Worker i of k reads batches i, i + k, i + 2k, ... of its rank. A DataLoader takes from its workers in turn, so it returns the
batches in the rank's order. The position is in the batch because workers read ahead of the loop that trains.

A pass over a loader ends after `epochs` epochs; a second pass reads the same batches again. For epochs in different orders, make
one pass with a larger `epochs`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Required, TypedDict, cast

from fasttok.errors import InputError, require
from pipelines.shards.batch import Batch, ReadState
from pipelines.shards.reader import ShardReader

torch = require("torch", "torch", "reading shards as a PyTorch dataset")
data = require("torch.utils.data", "torch", "reading shards as a PyTorch dataset")
if TYPE_CHECKING:
    IterableDataset = object  # PyTorch is optional, so the type checker has no types of it
else:
    IterableDataset = data.IterableDataset


class LoaderState(TypedDict, total=False):
    """Position of a dataset.

    Attributes:
        read_state: `ReadState.to_json` after the batch that was returned last; None at the beginning.
        worker: number of the loader's worker that read that batch, from 0.
        workers: number of workers of the loader.
    """

    read_state: Required[dict[str, str | int] | None]
    worker: int
    workers: int


class ShardDataset(IterableDataset):
    """Batches of SHARDS; use it with `DataLoader(dataset, batch_size=None)`."""

    def __init__(
        self,
        shards: str | ShardReader,
        n: int,
        *,
        transform: Callable[[Batch], Any] | None = None,
        rank: int | None = None,
        world: int | None = None,
        **order: Any,
    ) -> None:
        """Opens the manifest only; each worker opens shards of its own.

        Args:
            shards: folder or URL of SHARDS, or a reader of them.
            n: number of samples in a global batch, over all ranks.
            transform: turns a `pipelines.shards.batch.Batch` into what the loader returns, in the worker; None for `tensors`.
            rank: number of this process; None for the rank in torch.distributed if that is initialised, else 0.
            world: number of processes; None for the world size of torch.distributed if that is initialised, else 1.
            order: arguments of `ShardReader.batches`: mode, weights, seed, epochs, window, pool, columns, workers, ahead.

        Raises:
            InputError: as in `ShardReader.batches`.
        """
        super().__init__()
        group = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.reader = ShardReader(shards) if isinstance(shards, str) else shards
        self.n = n
        self.transform = transform or tensors
        self.order = order
        self.rank = rank if rank is not None else torch.distributed.get_rank() if group else 0
        self.world = world if world is not None else torch.distributed.get_world_size() if group else 1
        self._at: LoaderState = {"read_state": None}
        # Whether the last pass came to its end, so that the next one begins again, as in a new worker.
        self._ended = False
        self._batches((0, 1), None).close()  # reports wrong arguments now

    def __iter__(self) -> Iterator[Any]:
        info = data.get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        state = None if self._ended else self._start(worker, workers)
        self._ended = False
        for batch in self._batches((worker, workers), state):
            self._at = {"read_state": batch.state.to_json(), "worker": worker, "workers": workers}
            yield self.transform(batch)
        self._ended = True

    def state_dict(self) -> LoaderState:
        """Returns the position of this object, which is exact only in the process that iterates.

        If the workers of a DataLoader iterate, use the `read_state` of a batch instead, or a loader that asks each worker for its
        state and gives it back to the same worker.
        """
        return self._at.copy()

    def load_state_dict(self, state: LoaderState | Mapping[str, str | int] | ReadState) -> None:
        """Continues after this position: a batch's `read_state`, a `ReadState`, or what `state_dict` returned."""
        if isinstance(state, ReadState):
            state = state.to_json()
        self._ended = False
        if "read_state" in state:
            self._at = cast(LoaderState, dict(state))
        else:
            self._at = {"read_state": dict(state)}

    def _start(self, worker: int, workers: int) -> ReadState | None:
        position = self._at["read_state"]
        if position is None:
            return None
        state = ReadState.from_json(position)
        before = self._at.get("workers", 1)
        if before == 1:
            return state
        if (self._at.get("worker"), before) != (worker, workers):
            raise InputError(
                f"the state is that of worker {self._at.get('worker')} of {before}, and this is worker {worker} of {workers}: "
                "keep num_workers, or go on after a batch's own read_state, which fits any number"
            )
        # The next batch of this worker is number `worker` of the next round: skip what is left of this round.
        return ReadState(state.manifest, state.consumed + (workers - 1 - worker) * self.n, state.order)

    def _batches(self, turn: tuple[int, int], state: ReadState | None) -> Any:
        return self.reader.batches(self.n, rank=self.rank, world=self.world, turn=turn, state=state, **self.order)


def tensors(batch: Batch) -> dict[str, Any]:
    """Returns a batch as a dict of its columns and `read_state`.

    Numbers, and lists of equal length in all rows, become tensors that share the batch's memory. Other lists of numbers become
    one tensor per row. Text and images become lists of str and bytes.
    """
    columns: dict[str, Any] = {}
    for name in batch.data:
        if batch.is_array(name):
            columns[name] = torch.from_numpy(batch.array(name))
        elif batch.is_numeric(name):
            columns[name] = [torch.from_numpy(row) for row in batch[name]]
        else:
            columns[name] = batch[name]
    return {**columns, "read_state": batch.state.to_json()}
