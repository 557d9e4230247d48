"""Random models of width 256, whose rows are whole blocks of every type, as folders: what round_trip quantizes.

    random_folders.py OUT

Writes OUT/llama, OUT/mixtral (eight experts) and OUT/falcon; no vocabulary.
"""

import pathlib
import sys

import torch
import transformers

SIZES = {"vocab_size": 320, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8, "max_position_embeddings": 256}
WIDE = {"intermediate_size": 512, "num_key_value_heads": 2, "tie_word_embeddings": False}
NO_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def configs():
    yield "llama", transformers.LlamaConfig(**SIZES, **WIDE, **NO_TOKENS)
    experts = {"num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": None}
    yield "mixtral", transformers.MixtralConfig(**SIZES, **WIDE, **NO_TOKENS, **experts)
    yield "falcon", transformers.FalconConfig(**SIZES, **NO_TOKENS, ffn_hidden_size=512, tie_word_embeddings=False)


torch.manual_seed(7)
for name, config in configs():
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(1.0 + 0.1 * torch.randn(parameter.shape) if parameter.dim() == 1 else 0.06 * torch.randn(parameter.shape))
    model.save_pretrained(pathlib.Path(sys.argv[1]) / name)
