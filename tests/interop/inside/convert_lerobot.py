"""lerobot's own converter from v2.1 to v3.0, on a local folder: FOLDER."""

import os
import sys

os.environ["HF_LEROBOT_HOME"] = os.path.dirname(sys.argv[1])  # noqa: PTH120  lerobot reads it when it is imported

from lerobot.scripts.convert_dataset_v21_to_v30 import convert_dataset

convert_dataset(repo_id="lab/robot", root=sys.argv[1], push_to_hub=False)
