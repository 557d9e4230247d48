#!/usr/bin/env python3
"""Writes crates/files/fixtures/gguf_blocks.json and reference.gguf: what the `gguf` package (the format's authors) and
ggml make of inputs that a seed gives, as hashes, so that the tests need neither.

    python -m venv E && E/bin/pip install gguf==0.19.0 numpy==2.4.6
    E/bin/python tools/goldens/make_gguf_goldens.py --ggml PATH/libggml-base.so

The library is the one that `llama-cpp-python==0.3.36` builds and installs (llama_cpp/lib). From it come the errors of
the K-quants, and Q8_K, Q1_0 and Q2_0, which the package does not dequantize.
"""

import argparse
import ctypes
import hashlib
import json
import os
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "crates/files/fixtures"
BLOCKS = 1024
ROUNDED = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]
SEARCHED = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
BY_THE_LIBRARY = {"Q8_K": (256, 292), "Q1_0": (128, 18), "Q2_0": (64, 18)}  # elements and bytes of a block


def random_words(seed: int, count: int) -> np.ndarray:
    """SplitMix64: Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number Generators"."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def random_bytes(seed: int, count: int) -> np.ndarray:
    return random_words(seed, -(-count // 8)).astype("<u8").view(np.uint8)[:count].copy()


def bell(seed: int, count: int) -> np.ndarray:
    """Sums of three uniform 20-bit integers about zero: a rough bell of integers, exact in float32."""
    words = random_words(seed, count)
    parts = [(words >> np.uint64(20 * i)).astype(np.int64) & 0xFFFFF for i in range(3)]
    return sum(parts) - 3 * 2**19


def values_for_rounding(seed: int) -> np.ndarray:
    """Blocks of 32 of many magnitudes; of every eight blocks one is zero, one constant, one a spike, one of halves."""
    values = bell(seed, BLOCKS * 32).reshape(BLOCKS, 32)
    number = np.arange(BLOCKS)
    values[number % 8 == 0] = 0
    values[number % 8 == 1] = values[number % 8 == 1][:, :1]
    values[number % 8 == 2, 1:] = 0
    halves = number % 8 == 3
    values[halves] = values[halves] % 16 * 2**16 - 2**19
    exponents = -20.0 - number % 24
    return np.ldexp(values.astype(np.float64), exponents[:, None].astype(int)).astype(np.float32)


def values_for_search(seed: int) -> dict[str, np.ndarray]:
    x = bell(seed, 64 * 1024).astype(np.float64) / 2**20
    rows = x.reshape(-1, 32)
    spread = np.ldexp(rows, (np.arange(len(rows)) % 7 - 3)[:, None]).ravel()
    all_values = {"bell": x, "heavy tails": x * x * x, "offset": x + 0.75, "uneven": spread}
    return {name: values.astype(np.float32) for name, values in all_values.items()}


def sha256(array: np.ndarray) -> str:
    if array.dtype == np.float32:
        bits = array.view(np.uint32).copy()
        bits[np.isnan(array)] = 0x7FC00000
        array = bits
    return hashlib.sha256(array.tobytes()).hexdigest()


def load(path: str) -> ctypes.CDLL:
    library = ctypes.CDLL(path, mode=os.RTLD_LAZY)
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]  # fmt: skip
    return library


def dequantize_by(library: ctypes.CDLL, name: str, blocks: np.ndarray) -> np.ndarray:
    elements, size = BY_THE_LIBRARY[name]
    values = np.empty(len(blocks) // size * elements, dtype=np.float32)
    function = getattr(library, f"dequantize_row_{name.replace('Q', 'q')}")
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    function(blocks.ctypes.data, values.ctypes.data, len(values))
    return values


def quantize_by(library: ctypes.CDLL, name: str, values: np.ndarray) -> np.ndarray:
    elements, size = gguf.GGML_QUANT_SIZES[Type[name]]
    blocks = np.empty(len(values) // elements * size, dtype=np.uint8)
    library.ggml_quantize_chunk(Type[name], values.ctypes.data, blocks.ctypes.data, 0, 1, len(values), None)
    return blocks


def relative_error(values: np.ndarray, found: np.ndarray) -> float:
    difference = found.astype(np.float64) - values
    return float(np.sqrt((difference**2).sum() / (values.astype(np.float64) ** 2).sum()))


def widened(library: ctypes.CDLL) -> dict:
    sizes = {kind.name: gguf.GGML_QUANT_SIZES[kind] for kind in Type} | BY_THE_LIBRARY
    out = {}
    for seed, (name, (elements, size)) in enumerate(sizes.items()):
        if elements == 1 or name == "Q8_1":  # the latter is never stored
            continue
        blocks = random_bytes(seed, BLOCKS * size)
        if name in BY_THE_LIBRARY:
            values = dequantize_by(library, name, blocks)
        else:
            values = gguf.dequantize(blocks.reshape(BLOCKS, size), Type[name]).ravel()
        out[name] = {"seed": seed, "values": sha256(values)}
    return out


def rounded() -> dict:
    out = {}
    for seed, name in enumerate(ROUNDED + ["F16", "BF16"], start=100):
        values = values_for_rounding(seed)
        out[name] = {"seed": seed, "blocks": sha256(np.ascontiguousarray(gguf.quantize(values, Type[name])))}
    return out


def searched(library: ctypes.CDLL) -> dict:
    out = {}
    for name in SEARCHED:
        for kind, values in values_for_search(200).items():
            found = gguf.dequantize(quantize_by(library, name, values), Type[name]).ravel()
            out.setdefault(name, {})[kind] = relative_error(values, found)
    return out


def write_reference(path: pathlib.Path) -> None:
    """Every kind of metadata value, arrays in arrays, and tensors of several types, as the package writes them."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("kinds.u8", 255)
    writer.add_int8("kinds.i8", -128)
    writer.add_uint16("kinds.u16", 65535)
    writer.add_int16("kinds.i16", -32768)
    writer.add_uint32("kinds.u32", 4294967295)
    writer.add_int32("kinds.i32", -2147483648)
    writer.add_float32("kinds.f32", 1.5)
    writer.add_bool("kinds.bool", True)
    writer.add_string("kinds.string", "紡ぎ \U0001f9f6")
    writer.add_uint64("kinds.u64", 2**64 - 1)
    writer.add_int64("kinds.i64", -(2**63))
    writer.add_float64("kinds.f64", 0.1)
    writer.add_array("tokenizer.ggml.tokens", ["<s>", "</s>", "", "▁the", "<0xE2>"])
    writer.add_array("tokenizer.ggml.scores", [0.0, -1.0, -2.5])
    writer.add_array("tokenizer.ggml.token_type", [3, 3, 1, 1, 6])
    writer.add_array("nested.flags", [[True, False], [True]])
    writer.add_key_value("nested.ragged", [[[1, 2]], [[3], [4, 5, 6]]], gguf.GGUFValueType.ARRAY)
    values = values_for_rounding(300)
    writer.add_tensor("token_embd.weight", values[:2].reshape(2, 32))
    writer.add_tensor("blk.0.attn_norm.weight", values[4, :5].copy())
    writer.add_tensor("blk.0.attn_q.weight", gguf.quantize(values[:8].reshape(4, 64), Type.Q4_0), raw_dtype=Type.Q4_0)
    writer.add_tensor("blk.0.ffn_up.weight", random_bytes(301, 2 * 144).reshape(2, 144), raw_dtype=Type.Q4_K)
    writer.add_tensor("blk.0.ffn_gate.weight", values[:3].astype(np.float16))
    writer.add_tensor("output.weight", gguf.quantize(values[8:10], Type.BF16), raw_dtype=Type.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ggml", required=True, metavar="LIBRARY", help="libggml-base.so of llama-cpp-python")
    library = load(parser.parse_args().ggml)
    np.seterr(all="ignore")  # random scales are infinite and NaN too
    golden = {"blocks": BLOCKS, "widened": widened(library), "rounded": rounded(), "errors": searched(library)}
    (FIXTURES / "gguf_blocks.json").write_text(json.dumps(golden, indent=1) + "\n")
    write_reference(FIXTURES / "reference.gguf")


if __name__ == "__main__":
    main()
