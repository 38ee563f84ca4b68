"""Read shards from PyTorch: whole batches, in an order that you can stop and continue.

    pip install '.[pipelines,torch]'
    python examples/03_read_from_pytorch.py

It reads the shards of example 02.
"""

# %% Open the shards. A batch is a dictionary: numbers are tensors, pictures are still encoded.
from my_robot import need

need("tour/SHARDS/manifest.json", "02_lerobot_to_shards.py")
try:
    import torch

    from pipelines.adapters.torch import ShardDataset
except ModuleNotFoundError:
    raise SystemExit("PyTorch is not installed; pip install torch") from None

COLUMNS = ["prompt", "state", "action", "action_tokens"]
dataset = ShardDataset("tour/SHARDS", 64, columns=COLUMNS)
loader = torch.utils.data.DataLoader(dataset, batch_size=None)  # add num_workers=4: the order stays the same

# %% Read three batches.
for step, batch in enumerate(loader):
    print(
        f"batch {step}: actions {tuple(batch['action'].shape)} {batch['action'].dtype}, first prompt {batch['prompt'][0]!r}"
    )
    position = batch["read_state"]  # save it with your checkpoint
    if step == 2:
        break

# %% Continue where the third batch ended, as a restarted job does.
restarted = ShardDataset("tour/SHARDS", 64, columns=COLUMNS)
restarted.load_state_dict({"read_state": position})
print(f"samples read before: {position['consumed']}; next prompt: {next(iter(restarted))['prompt'][0]!r}")
