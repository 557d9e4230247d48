#!/usr/bin/env python3
"""Writes crates/tensor/fixtures/muon.json: steps of `torch.optim.Muon` on small matrices, computed in float64.

Usage: .venv-peers/bin/python tools/goldens/make_muon_golden.py

PyTorch orthogonalizes in bfloat16 whatever the parameters are, which would hide all but gross mistakes; the optimizer's
module sees float64 under that name here.
"""

import json
import pathlib
import re

import torch
from torch.optim import _muon

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/tensor/fixtures/muon.json"
SHAPES = [(4, 6), (6, 4), (3, 3), (1, 5), (5, 1)]
SETTINGS = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.95, "nesterov": True, "adjust_lr_fn": "match_rms_adamw"}
STEPS = 3


class WithoutBfloat16:
    """The module `torch`, in which bfloat16 is float64."""

    bfloat16 = torch.float64

    def __getattr__(self, name: str):
        return getattr(torch, name)


def numbers(tensor: torch.Tensor) -> list[float]:
    return tensor.detach().flatten().tolist()


def main() -> None:
    _muon.torch = WithoutBfloat16()
    generator = torch.Generator().manual_seed(5)
    random = lambda shape: torch.randn(shape, generator=generator, dtype=torch.float32).double()
    matrices = []
    for shape in SHAPES:
        matrix = torch.nn.Parameter(random(shape))
        optimizer = torch.optim.Muon([matrix], **SETTINGS)
        record = {"rows": shape[0], "columns": shape[1], "initial": numbers(matrix), "steps": []}
        for _ in range(STEPS):
            matrix.grad = random(shape)
            optimizer.step()
            record["steps"].append({"gradient": numbers(matrix.grad), "after": numbers(matrix)})
        matrices.append(record)
    golden = {"torch": torch.__version__, "settings": SETTINGS, "matrices": matrices}
    # One line for each list of numbers, so that a difference can be read.
    text = re.sub(r"\[[^][{}]*\]", lambda match: " ".join(match[0].split()), json.dumps(golden, indent=1))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(text + "\n")


if __name__ == "__main__":
    main()
