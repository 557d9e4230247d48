#!/usr/bin/env python3
"""Which type llama.cpp gives each tensor, for `crates/compress/fixtures/mixes.json`.

    .venv-peers-llama-cpp/bin/python tools/goldens/make_mix_goldens.py      (bench/peers/llama_cpp/environment makes it)

Small models of zeros are written with the `gguf` package and quantized by llama.cpp to every type; the types of their
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

# What its layers are, width, layers, heads, key heads, tied: as in crates/compress/tests/it/mixes.rs.
MODELS = {
    "eight-experts": ("experts", 256, 18, 8, 2, False),
    "falcon": ("falcon", 256, 34, 8, 1, False),
    "blocks-of-256": ("llama", 256, 18, 8, 2, False),
    "blocks-of-256-tied": ("llama", 256, 9, 4, 4, True),
    "blocks-of-32": ("llama", 96, 17, 4, 1, True),
    "no-blocks": ("llama", 40, 3, 4, 2, False),
}
VOCABULARY, EXPERTS = 64, 8

# llama.h, enum llama_ftype
FILE_TYPES = {
    "F16": 1, "BF16": 32, "Q8_0": 7, "Q6_K": 18, "Q5_K_M": 17, "Q5_K_S": 16, "Q5_1": 9, "Q5_0": 8, "Q4_K_M": 15, "Q4_K_S": 14,
    "Q4_1": 3, "Q4_0": 2, "Q3_K_L": 13, "Q3_K_M": 12, "Q3_K_S": 11, "Q2_K": 10,
}  # fmt: skip


def layer_shapes(kind, width, keys):
    attention = [("attn_q", (width, width)), ("attn_k", (keys, width)), ("attn_v", (keys, width))]
    first = [("attn_norm", (width,)), ("attn_output", (width, width))]
    if kind == "falcon":
        return [*first, ("ffn_up", (2 * width, width)), ("ffn_down", (width, 2 * width)), ("attn_qkv", (width + 2 * keys, width))]
    if kind == "experts":
        router, wide = ("ffn_gate_inp", (EXPERTS, width)), (EXPERTS, 2 * width, width)
        experts = [("ffn_gate_exps", wide), ("ffn_up_exps", wide), ("ffn_down_exps", (EXPERTS, width, 2 * width))]
        return [*first, ("ffn_norm", (width,)), router, *experts, *attention]
    gate_up = [("ffn_gate", (2 * width, width)), ("ffn_up", (2 * width, width))]
    return [*first, ("ffn_norm", (width,)), ("ffn_down", (width, 2 * width)), *attention, *gate_up]


def shapes(kind, width, layers, heads, key_heads, tied):
    """In the order of our names: once, then for each layer."""
    keys = width // heads * key_heads
    yield "token_embd.weight", (VOCABULARY, width)
    yield "output_norm.weight", (width,)
    if not tied:
        yield "output.weight", (VOCABULARY, width)
    for layer in range(layers):
        for name, shape in layer_shapes(kind, width, keys):
            yield f"blk.{layer}.{name}.weight", shape


def write(path, sizes):
    kind, width, layers, heads, key_heads, _ = sizes
    writer = gguf.GGUFWriter(path, "falcon" if kind == "falcon" else "llama")
    writer.add_block_count(layers)
    writer.add_context_length(32)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(key_heads)
    (writer.add_layer_norm_eps if kind == "falcon" else writer.add_layer_norm_rms_eps)(1e-5)
    if kind == "experts":
        writer.add_expert_count(EXPERTS)
        writer.add_expert_used_count(2)
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
