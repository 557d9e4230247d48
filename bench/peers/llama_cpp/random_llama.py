"""The models that `speed` was run on: a Llama of 0.5B random weights, and quantizations of it (or of MODEL) by llama.cpp.

    .venv-peers-llama-cpp/bin/python bench/peers/llama_cpp/random_llama.py FOLDER [MODEL.gguf]

Writes FOLDER/half.f16.gguf and half.{q4_0,q8_0,q4_k_m,q6_k}.gguf; with MODEL, only that in these types.
"""

import ctypes
import pathlib
import sys

import gguf
import llama_cpp
import numpy as np

FILE_TYPES = {"q4_0": 2, "q8_0": 7, "q4_k_m": 15, "q6_k": 18}  # llama.h, enum llama_ftype
WIDTH, WIDE, LAYERS, HEADS, KEY_HEADS, HEAD_WIDTH, VOCABULARY = 1280, 3584, 24, 20, 5, 64, 32000


def write(path):
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(8192)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD_WIDTH)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(1)
    special = [b"<unk>", b"<s>", b"</s>"]
    tokens = special + [f"<0x{byte:02X}>".encode() for byte in range(256)]
    tokens += [f"<{i}>".encode() for i in range(len(tokens), VOCABULARY)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(VOCABULARY)])
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (VOCABULARY - 259))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    random = np.random.default_rng(1)

    def add(name, rows, columns):
        writer.add_tensor(name, (random.standard_normal((rows, columns), dtype=np.float32) * 0.02).astype(np.float16))

    add("token_embd.weight", VOCABULARY, WIDTH)
    add("output.weight", VOCABULARY, WIDTH)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(WIDTH, np.float32))
        keys = KEY_HEADS * HEAD_WIDTH
        for name, rows, columns in (
            ("attn_q", WIDTH, WIDTH), ("attn_k", keys, WIDTH), ("attn_v", keys, WIDTH), ("attn_output", WIDTH, WIDTH),
            ("ffn_gate", WIDE, WIDTH), ("ffn_up", WIDE, WIDTH), ("ffn_down", WIDTH, WIDE),
        ):  # fmt: skip
            add(f"blk.{layer}.{name}.weight", rows, columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(folder, model=None):
    folder = pathlib.Path(folder)
    source = pathlib.Path(model) if model else folder / "half.f16.gguf"
    if not model:
        write(source)
    for name, file_type in FILE_TYPES.items():
        settings = llama_cpp.llama_model_quantize_default_params()
        settings.ftype, settings.allow_requantize, settings.nthread = file_type, True, 2
        out = folder / f"{'half' if not model else source.name.split('.')[0]}.{name}.gguf"
        if llama_cpp.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(settings)) != 0:
            sys.exit(f"llama.cpp did not write {out}")


main(*sys.argv[1:])
