#!/usr/bin/env python3
"""Tiny random checkpoints and what `transformers` computes from them: the goldens of `crates/models`.

Run `tools/goldens/environment` once, then

    .venv-peers/bin/python tools/goldens/make_model_goldens.py

Each folder under crates/models/fixtures/ gets a Hugging Face model folder (config.json, weights), and
  golden.safetensors   `ids_0`, `ids_1` (int64) and `logits_0`, `logits_1` (float32, [tokens, vocabulary])
  golden.json          versions, ids, training loss, gradients, losses of ten AdamW steps
  README.md            where the files come from

All parameters are random, norm weights and biases too: an initial value of one or zero would hide a mistake.
Every number is computed in float32 on the CPU with eager attention, from the weights as they lie in the file.
No file is larger than 64 kB, so some folders are sharded and some hold 16-bit weights.
"""

import argparse
import copy
import dataclasses
import json
import pathlib
import re
import shutil
import tempfile

import safetensors.torch
import torch
import transformers

VOCABULARY = 96
CONTEXT = 64
LENGTHS = (17, 40)
FILE_BYTES_MAX = 64_000
ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class Fixture:
    """One checkpoint: its configuration, how the weights are stored, and what is special about it."""

    name: str
    about: str
    config: transformers.PretrainedConfig
    storage: torch.dtype = torch.float32
    # Spell config.json as transformers 4 did (`rope_theta`, `rope_scaling`, `torch_dtype`): what most files on the hub say.
    old_config: bool = False
    # The shard limit, when one float32 file would be too large.
    shard: bool = False
    # Store the weights as `transformers` did before safetensors: with `torch.save`, tied ones under both names.
    pytorch: bool = False
    # Store the experts of a layer in one tensor, as transformers 5 has them in memory.
    fused: bool = False


def gpt2() -> transformers.GPT2Config:
    return transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
    )


def llama(layers: int, tied: bool, **more) -> transformers.LlamaConfig:
    more.setdefault("max_position_embeddings", CONTEXT)
    more.setdefault("rope_parameters", {"rope_type": "default", "rope_theta": 10_000.0})
    return transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=88,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        rms_norm_eps=1e-5,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=0,
        **more,
    )


# What the small models of the other families share: windows are shorter than the texts, heads wider than the model by the heads.
SMALL = {
    "vocab_size": 48,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": None,
}


def rope(kind: str = "default", base: float = 10_000.0, **more) -> dict:
    return {"rope_type": kind, "rope_theta": base, **more}


def mistral() -> transformers.MistralConfig:
    return transformers.MistralConfig(**SMALL, num_hidden_layers=2, sliding_window=8, rms_norm_eps=1e-5, rope_parameters=rope())


def qwen2() -> transformers.Qwen2Config:
    small = {key: value for key, value in SMALL.items() if key != "head_dim"}
    yarn = rope("yarn", base=100.0, factor=4.0, original_max_position_embeddings=16, beta_fast=4.0)
    return transformers.Qwen2Config(
        **small, num_hidden_layers=3, use_sliding_window=True, sliding_window=8, max_window_layers=1, rope_parameters=yarn
    )


def qwen3() -> transformers.Qwen3Config:
    return transformers.Qwen3Config(**SMALL, num_hidden_layers=2, rope_parameters=rope(base=1_000_000.0), tie_word_embeddings=True)


def gemma2() -> transformers.Gemma2Config:
    return transformers.Gemma2Config(
        **SMALL,
        num_hidden_layers=2,
        sliding_window=8,
        query_pre_attn_scalar=8,
        attn_logit_softcapping=3.0,
        final_logit_softcapping=4.0,
        rope_parameters=rope(),
    )


def gemma3() -> transformers.Gemma3TextConfig:
    rotations = {"sliding_attention": rope(base=50.0), "full_attention": rope("linear", base=1_000_000.0, factor=8.0)}
    return transformers.Gemma3TextConfig(
        **SMALL, num_hidden_layers=4, sliding_window=8, sliding_window_pattern=3, query_pre_attn_scalar=8, rope_parameters=rotations
    )


def granite() -> transformers.GraniteConfig:
    small = {key: value for key, value in SMALL.items() if key != "head_dim"}
    return transformers.GraniteConfig(
        **small,
        num_hidden_layers=2,
        tie_word_embeddings=True,
        embedding_multiplier=3.0,
        attention_multiplier=0.3,
        residual_multiplier=0.4,
        logits_scaling=2.5,
        rope_parameters=rope(),
    )


def phi3(**more) -> transformers.Phi3Config:
    """Heads of 8, of which 4 numbers turn."""
    small = {key: value for key, value in SMALL.items() if key != "head_dim"} | {"hidden_size": 32}
    return transformers.Phi3Config(**small, num_hidden_layers=2, **more)


def moe(**more) -> dict:
    """Experts of 8 in every layer of a small model."""
    return {key: value for key, value in SMALL.items() if key != "head_dim"} | {
        "num_hidden_layers": 2,
        "moe_intermediate_size": 8,
        "rope_parameters": rope(),
        **more,
    }


def mixtral() -> transformers.MixtralConfig:
    return transformers.MixtralConfig(
        **SMALL | {"intermediate_size": 8},
        num_hidden_layers=2,
        num_local_experts=5,
        num_experts_per_tok=2,
        sliding_window=8,
        rope_parameters=rope(base=1_000_000.0),
    )


def qwen2_moe() -> transformers.Qwen2MoeConfig:
    return transformers.Qwen2MoeConfig(**moe(num_experts=6, num_experts_per_tok=3, shared_expert_intermediate_size=12))


def qwen3_moe() -> transformers.Qwen3MoeConfig:
    return transformers.Qwen3MoeConfig(**moe(num_experts=7, num_experts_per_tok=2, norm_topk_prob=True, head_dim=6))


def bloom() -> transformers.BloomConfig:
    """Three heads: ALiBi's slopes of a number that is no power of two."""
    return transformers.BloomConfig(vocab_size=48, hidden_size=18, n_layer=2, n_head=3, bos_token_id=0, eos_token_id=0)


def stablelm(**more) -> transformers.StableLmConfig:
    small = {key: value for key, value in SMALL.items() if key != "head_dim"} | {"hidden_size": 32}
    return transformers.StableLmConfig(**small, num_hidden_layers=2, rope_parameters=rope(partial_rotary_factor=0.25), **more)


def smollm3() -> transformers.SmolLM3Config:
    small = {key: value for key, value in SMALL.items() if key != "head_dim"}
    return transformers.SmolLM3Config(**small, num_hidden_layers=3, no_rope_layers=[1, 0, 1], rope_parameters=rope(base=2_000_000.0))


def falcon(**more) -> transformers.FalconConfig:
    return transformers.FalconConfig(
        vocab_size=48,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=6,
        ffn_hidden_size=40,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
        rope_parameters=rope(),
        **more,
    )


# Both texts are longer than the original context: transformers takes the long factors, as we do for every text of such a model.
LONGROPE = rope("longrope", short_factor=[1.0, 1.5], long_factor=[1.25, 6.0], partial_rotary_factor=0.5)


# Head width 8 gives wavelengths 6, 63, 628 and 6,283: kept, blended, divided, divided by the parameters below.
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}

FIXTURES = [
    Fixture("gpt2-tiny", "GPT-2, 2 layers, tied head; bfloat16, one file", gpt2(), storage=torch.bfloat16),
    Fixture("gpt2-sharded", "GPT-2, 2 layers, tied head; float32, sharded with an index", gpt2(), shard=True),
    Fixture("llama-one-layer", "Llama, 1 layer, tied head; float32, one file; config.json spelled as by transformers 4",
            llama(1, True), old_config=True),
    Fixture("llama-tied", "Llama, 2 layers, tied head; bfloat16, one file", llama(2, True), storage=torch.bfloat16),
    Fixture("llama-untied", "Llama, 2 layers, a head of its own; float32, sharded with an index", llama(2, False), shard=True),
    Fixture("llama3-rope", "Llama, 2 layers, tied, `rope_scaling` llama3; float16, one file; config.json spelled as by "
            "transformers 4", llama(2, True, max_position_embeddings=1024, rope_parameters=LLAMA3_ROPE),
            storage=torch.float16, old_config=True),
    Fixture("llama-pytorch", "Llama, 2 layers, tied head; bfloat16, two files of PyTorch with an index", llama(2, True),
            storage=torch.bfloat16, pytorch=True),
    Fixture("mistral", "Mistral, 2 layers with a window of 8", mistral(), storage=torch.bfloat16),
    Fixture("qwen2", "Qwen 2, 3 layers, two with a window of 8, `rope_scaling` yarn; config.json spelled as by transformers 4",
            qwen2(), storage=torch.bfloat16, old_config=True),
    Fixture("qwen3", "Qwen 3, 2 layers, tied head", qwen3(), storage=torch.bfloat16),
    Fixture("gemma2", "Gemma 2, 2 layers, one with a window of 8, scores and logits near their caps", gemma2(), storage=torch.bfloat16),
    Fixture("gemma3", "Gemma 3, 4 layers, three with a window of 8, rotations of their own for both kinds", gemma3(),
            storage=torch.bfloat16),
    Fixture("granite", "Granite, 2 layers, tied head, every factor another than 1", granite(), storage=torch.bfloat16),
    Fixture("phi3", "Phi-3, 2 layers, half of each head turns, `rope_scaling` longrope beyond its original context",
            phi3(original_max_position_embeddings=16, rope_parameters=LONGROPE), storage=torch.bfloat16),
    Fixture("phi3-short", "Phi-3, 2 layers with a window of 8, longrope within its original context; config.json spelled as by transformers 4",
            phi3(original_max_position_embeddings=CONTEXT, sliding_window=8, rope_parameters=LONGROPE),
            storage=torch.bfloat16, old_config=True),
    Fixture("mixtral", "Mixtral, 2 layers of 5 experts with a window of 8", mixtral(), storage=torch.bfloat16),
    Fixture("qwen2-moe", "Qwen 2 MoE, 2 layers of 6 experts and a shared one", qwen2_moe(), storage=torch.bfloat16),
    Fixture("qwen3-moe", "Qwen 3 MoE, 2 layers of 7 experts", qwen3_moe(), storage=torch.bfloat16),
    Fixture("bloom", "BLOOM, 2 layers, 3 heads, tied head", bloom(), storage=torch.bfloat16),
    Fixture("stablelm", "StableLM, 2 layers, a quarter of each head turns, biases on queries, keys and values; config.json "
            "spelled as by transformers 4", stablelm(use_qkv_bias=True), storage=torch.bfloat16, old_config=True),
    Fixture("stablelm-parallel", "StableLM, 2 layers whose parts stand side by side", stablelm(use_parallel_residual=True),
            storage=torch.bfloat16),
    Fixture("smollm3", "SmolLM 3, 3 layers, in the second of which nothing turns, tied head", smollm3(), storage=torch.bfloat16),
    Fixture("falcon", "Falcon, 2 layers, 6 heads that share keys and values, tied head", falcon(), storage=torch.bfloat16),
    Fixture("falcon-groups", "Falcon of the newer architecture with one norm in each layer, 2 layers, 3 groups of 2 heads",
            falcon(new_decoder_architecture=True, num_kv_heads=3, num_ln_in_parallel_attn=1, tie_word_embeddings=False),
            storage=torch.bfloat16),
    Fixture("mixtral-fused", "Mixtral, 2 layers of 5 experts with a window of 8, the experts of a layer in one tensor", mixtral(),
            storage=torch.bfloat16, fused=True),
    Fixture("qwen2-moe-fused", "Qwen 2 MoE, 2 layers of 6 experts and a shared one, the experts of a layer in one tensor",
            qwen2_moe(), storage=torch.bfloat16, fused=True),
]  # fmt: skip


def randomize(model: torch.nn.Module, storage: torch.dtype, seed: int) -> None:
    """Gives every parameter a random value that `storage` can hold exactly."""
    generator = torch.Generator().manual_seed(seed)
    # Gemma's norms multiply by one more than their weights.
    norm_weight = 0.0 if model.config.model_type.startswith("gemma") else 1.0
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                is_norm_weight = name.endswith("weight")
                value = norm_weight + 0.3 * noise if is_norm_weight else 0.2 * noise
            else:
                value = 0.25 * noise
            parameter.copy_(value.to(storage).float())


def token_ids(vocabulary: int, seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(vocabulary, (length,), generator=generator).tolist() for length in LENGTHS]


def mean_loss(model: torch.nn.Module, sequences: list[list[int]]) -> torch.Tensor:
    """Cross-entropy in nats of every next token, over all predicted tokens of both sequences together."""
    total, count = 0.0, 0
    for ids in sequences:
        logits = model(torch.tensor([ids])).logits[0]
        total = total + torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="sum")
        count += len(ids) - 1
    return total / count


def as_stored(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The gradients under the names and in the shapes that the weights have in a file: experts are stored one by one."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for to, parameter in zip(copied.parameters(), model.parameters(), strict=True):
            to.copy_(parameter.grad)
    with tempfile.TemporaryDirectory() as folder:
        copied.save_pretrained(folder)
        stored = safetensors.torch.load_file(pathlib.Path(folder) / "model.safetensors")
    in_order = [name for name, _ in model.named_parameters() if name in stored]
    return {name: stored[name] for name in dict.fromkeys(in_order + sorted(stored))}


def gradients(model: torch.nn.Module, sequences: list[list[int]]) -> tuple[float, dict]:
    model.zero_grad()
    loss = mean_loss(model, sequences)
    loss.backward()
    table = {}
    for name, stored in as_stored(model).items():
        gradient = stored.double().flatten()
        table[name] = {
            "shape": list(stored.shape),
            "sum": gradient.sum().item(),
            "norm": gradient.norm().item(),
            "first": stored.flatten()[:8].tolist(),
        }
    return loss.item(), table


ADAMW = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1, "clip_norm": 1.0, "steps": 10}


def adamw_losses(model: torch.nn.Module, sequences: list[list[int]]) -> list[float]:
    """Losses before each of ten steps and after the last: AdamW, decay on matrices only, gradients clipped by norm."""
    model = copy.deepcopy(model)
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": ADAMW["weight_decay"]}, {"params": vectors, "weight_decay": 0.0}]
    betas = (ADAMW["beta1"], ADAMW["beta2"])
    optimizer = torch.optim.AdamW(groups, lr=ADAMW["learning_rate"], betas=betas, eps=ADAMW["epsilon"])
    losses = []
    for _ in range(ADAMW["steps"]):
        optimizer.zero_grad()
        loss = mean_loss(model, sequences)
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), ADAMW["clip_norm"])
        optimizer.step()
    losses.append(mean_loss(model, sequences).item())
    return losses


def spell_config_as_version_4(path: pathlib.Path) -> None:
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.46.0"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save(model: torch.nn.Module, fixture: Fixture, folder: pathlib.Path) -> torch.nn.Module:
    """Writes the model folder and returns the model as it is read back, in float32."""
    stored = copy.deepcopy(model).to(fixture.storage)
    stored.save_pretrained(folder, max_shard_size="60KB" if fixture.shard else "1GB", save_original_format=not fixture.fused)
    if fixture.old_config:
        spell_config_as_version_4(folder / "config.json")
    if fixture.pytorch:
        save_as_pytorch(stored, folder)
    return open_float32(folder)


def save_as_pytorch(model: torch.nn.Module, folder: pathlib.Path) -> None:
    (folder / "model.safetensors").unlink()
    state = model.state_dict()
    names = list(state)
    half = len(names) // 2
    weight_map = {}
    for shard, shard_names in [("pytorch_model-00001-of-00002.bin", names[:half] + names[-1:]), ("pytorch_model-00002-of-00002.bin", names[half:-1])]:
        torch.save({name: state[name] for name in shard_names}, folder / shard)
        weight_map.update(dict.fromkeys(shard_names, shard))
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def open_float32(folder: pathlib.Path) -> torch.nn.Module:
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    )
    return model.eval()


def versions() -> dict:
    return {"torch": torch.__version__, "transformers": transformers.__version__}


def write_golden(model: torch.nn.Module, sequences: list[list[int]], folder: pathlib.Path) -> None:
    tensors = {}
    with torch.no_grad():
        for i, ids in enumerate(sequences):
            tensors[f"ids_{i}"] = torch.tensor(ids)
            tensors[f"logits_{i}"] = model(torch.tensor([ids])).logits[0].contiguous()
    safetensors.torch.save_file(tensors, folder / "golden.safetensors")
    loss, table = gradients(model, sequences)
    golden = {
        "made_by": "tools/goldens/make_model_goldens.py",
        "versions": versions(),
        "ids": sequences,
        "loss_nats": loss,
        "gradients": table,
        "adamw": {**ADAMW, "weight_decay_on": "parameters of two or more dimensions", "losses_nats": adamw_losses(model, sequences)},
    }
    # One line for each innermost list, so that a difference can be read.
    text = re.sub(r"\[[^][{}]*\]", lambda match: " ".join(match[0].split()), json.dumps(golden, indent=1))
    (folder / "golden.json").write_text(text + "\n")


def write_readme(fixture: Fixture, folder: pathlib.Path) -> None:
    origin = " and ".join(f"{name} {version}" for name, version in versions().items())
    (folder / "README.md").write_text(f"""# {fixture.name}

{fixture.about}.

Origin: random weights made by `tools/goldens/make_model_goldens.py` with {origin}; no outside data. Licence: that of this
repository. `golden.safetensors` and `golden.json` hold what `transformers` computes from them in float32 (logits, loss,
gradients, ten AdamW steps); the script says how.

Files: {", ".join(f"`{path.name}`" for path in sorted(folder.iterdir()) if path.name != "README.md")}.
""")  # fmt: skip


def make(fixture: Fixture, seed: int, out: pathlib.Path) -> None:
    folder = out / fixture.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = transformers.AutoModelForCausalLM.from_config(fixture.config, dtype=torch.float32, attn_implementation="eager").eval()
    randomize(model, fixture.storage, seed)
    sequences = token_ids(fixture.config.vocab_size, seed)
    read_back = save(model, fixture, folder)
    with torch.no_grad():
        for ids in sequences:
            want, got = (m(torch.tensor([ids])).logits for m in (model, read_back))
            assert torch.equal(want, got), f"{fixture.name}: the saved model is not the model"
    # A model that was read from fused experts would name its gradients so too; the names are those of published files.
    write_golden(model if fixture.fused else read_back, sequences, folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    write_readme(fixture, folder)
    for path in folder.iterdir():
        assert path.stat().st_size <= FILE_BYTES_MAX, f"{path}: {path.stat().st_size} bytes"
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{fixture.name}: {size:,} bytes in {len(list(folder.iterdir()))} files, {fixture.about}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "crates/models/fixtures")
    parser.add_argument("names", nargs="*", help="of the fixtures to make; all when none is given")
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    for seed, fixture in enumerate(FIXTURES):
        if not arguments.names or fixture.name in arguments.names:
            make(fixture, seed, arguments.out)


if __name__ == "__main__":
    main()
