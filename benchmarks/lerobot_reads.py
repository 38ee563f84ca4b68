"""Runs where lerobot is installed: frames a second of lerobot's own dataset, at random places. FOLDER SAMPLES SEED -> JSON."""

import json
import sys
import time

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset


def main(folder: str, samples: int, seed: int) -> None:
    """Prints {"frames", "clock", "cpu"}; the first sample, which opens the videos, is not timed."""
    data = LeRobotDataset("lab/robot", root=folder, video_backend="pyav")
    places = np.random.default_rng(seed).permutation(len(data))[: samples + 1].tolist()
    data[places[0]]
    clock, cpu = time.perf_counter(), time.process_time()
    for place in places[1:]:
        data[place]
    print(json.dumps({"frames": samples, "clock": time.perf_counter() - clock, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
