"""What transformers does of round_trip: logits of a folder in float32.

    transformers_side.py FOLDER < [[1, 2, 3], ...]      one list of rows of logits for each list of ids, as JSON
"""

import json
import pathlib
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tools/goldens"))
from check_with_transformers import compare_loading, logits_of, open_folder  # noqa: E402

model, _, info = open_folder(pathlib.Path(sys.argv[1]))
if differences := compare_loading(info):
    sys.exit("; ".join(differences))
with torch.no_grad():
    print(json.dumps([logits_of(model, ids).tolist() for ids in json.load(sys.stdin)]))
