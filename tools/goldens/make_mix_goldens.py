#!/usr/bin/env python3
"""Which type llama.cpp gives each tensor, for `crates/compress/fixtures/mixes.json`.

    .venv-peers-llama-cpp/bin/python tools/goldens/make_mix_goldens.py      (bench/peers/llama_cpp/environment makes it)

Small Llamas of zeros are written with the `gguf` package and quantized by llama.cpp to every type; the types of their
matrices are kept as runs.
"""

import ctypes
import itertools
import json
import pathlib
import tempfile

import gguf
import llama_cpp
import numpy as np

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/compress/fixtures/mixes.json"

# Width, layers, heads, key heads, tied: as in crates/compress/tests/it/mixes.rs.
MODELS = {
    "blocks-of-256": (256, 18, 8, 2, False),
    "blocks-of-256-tied": (256, 9, 4, 4, True),
    "blocks-of-32": (96, 17, 4, 1, True),
    "no-blocks": (40, 3, 4, 2, False),
}
VOCABULARY = 64

# llama.h, enum llama_ftype
FILE_TYPES = {
    "F16": 1, "BF16": 32, "Q8_0": 7, "Q6_K": 18, "Q5_K_M": 17, "Q5_K_S": 16, "Q5_1": 9, "Q5_0": 8, "Q4_K_M": 15, "Q4_K_S": 14,
    "Q4_1": 3, "Q4_0": 2, "Q3_K_L": 13, "Q3_K_M": 12, "Q3_K_S": 11, "Q2_K": 10,
}  # fmt: skip


def shapes(width, layers, heads, key_heads, tied):
    """In the order of our names: once, then for each layer."""
    keys = width // heads * key_heads
    yield "token_embd.weight", (VOCABULARY, width)
    yield "output_norm.weight", (width,)
    if not tied:
        yield "output.weight", (VOCABULARY, width)
    for layer in range(layers):
        for name, shape in [
            ("attn_norm", (width,)),
            ("attn_output", (width, width)),
            ("ffn_norm", (width,)),
            ("ffn_down", (width, 2 * width)),
            ("attn_q", (width, width)),
            ("attn_k", (keys, width)),
            ("attn_v", (keys, width)),
            ("ffn_gate", (2 * width, width)),
            ("ffn_up", (2 * width, width)),
        ]:
            yield f"blk.{layer}.{name}.weight", shape


def write(path, sizes):
    width, layers, heads, key_heads, _ = sizes
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(32)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(key_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("none")
    for name, shape in shapes(*sizes):
        writer.add_tensor(name, np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def types(path, sizes):
    stored = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}
    matrices = [stored[name] for name, shape in shapes(*sizes) if len(shape) > 1 and stored[name] != "F32"]
    return ", ".join(f"{len(list(run))} {name}" for name, run in itertools.groupby(matrices))


def main():
    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    result = {}
    with tempfile.TemporaryDirectory() as scratch:
        source, target = f"{scratch}/source.gguf", f"{scratch}/target.gguf"
        for model, sizes in MODELS.items():
            write(source, sizes)
            result[model] = {}
            for name, number in FILE_TYPES.items():
                parameters = llama_cpp.llama_model_quantize_default_params()
                parameters.ftype, parameters.nthread = number, 1
                assert llama_cpp.llama_model_quantize(source.encode(), target.encode(), parameters) == 0, name
                result[model][name] = types(target, sizes)
    OUT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
