#!/usr/bin/env python3
"""The error of our quantization beside ggml's, on the matrices of a real checkpoint.

    E/bin/pip install gguf==0.19.0 numpy==2.4.6 safetensors==0.8.0
    cargo build --release -p tsumugi-files --example quantize_numbers
    E/bin/python tools/goldens/compare_k_quants.py --ggml PATH/libggml-base.so MODEL.safetensors

Errors are √(Σ(x − y)² / Σx²) over all float32 matrices; the last column is the worst matrix. Times are those of one
thread, ours with the start of a process and two pipes.
"""

import argparse
import pathlib
import subprocess
import time

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from make_gguf_goldens import ROUNDED, SEARCHED, load, quantize_by
from safetensors.numpy import load_file

OURS = pathlib.Path(__file__).resolve().parents[2] / "target/release/examples/quantize_numbers"


def squares(values: np.ndarray, blocks: np.ndarray, name: str) -> float:
    found = gguf.dequantize(blocks, Type[name]).ravel()
    return float(((found.astype(np.float64) - values) ** 2).sum())


def quantize_by_us(name: str, values: np.ndarray) -> np.ndarray:
    return np.frombuffer(subprocess.run([OURS, name], input=values.tobytes(), capture_output=True, check=True).stdout, np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ggml", required=True, metavar="LIBRARY", help="libggml-base.so of llama-cpp-python")
    parser.add_argument("model", help="safetensors file with float32 matrices")
    arguments = parser.parse_args()
    library = load(arguments.ggml)
    matrices = [
        tensor.ravel()
        for tensor in load_file(arguments.model).values()
        if tensor.ndim == 2 and tensor.dtype == np.float32 and tensor.size % 256 == 0
    ]
    total = sum(float((matrix.astype(np.float64) ** 2).sum()) for matrix in matrices)
    print(f"{len(matrices)} matrices, {sum(matrix.size for matrix in matrices):,} numbers")
    print(f"{'type':5} {'ours':>9} {'ggml':>9} {'ratio':>7} {'worst':>7} {'ours':>7} {'ggml':>7}")
    for name in ROUNDED + SEARCHED:
        pairs, seconds = [], [0.0, 0.0]
        for matrix in matrices:
            pair = []
            for which, quantize in enumerate([quantize_by_us, lambda name, values: quantize_by(library, name, values)]):
                begin = time.perf_counter()
                blocks = quantize(name, matrix)
                seconds[which] += time.perf_counter() - begin
                pair.append(squares(matrix, blocks, name))
            pairs.append(pair)
        ours, theirs = (np.sqrt(sum(column) / total) for column in zip(*pairs))
        worst = max(np.sqrt(ours / theirs) for ours, theirs in pairs)
        print(
            f"{name:5} {ours:9.6f} {theirs:9.6f} {ours / theirs:7.4f} {worst:7.4f} "
            f"{seconds[0]:6.2f}s {seconds[1]:6.2f}s"
        )


if __name__ == "__main__":
    main()
