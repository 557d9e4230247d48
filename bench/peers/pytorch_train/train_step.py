#!/usr/bin/env python3
"""PyTorch's side: one process = one round. Times full training steps of a GPT-2 as nanoGPT writes it, on the CPU.

    .venv-peers/bin/python bench/peers/pytorch_train/train_step.py --layers 4 --heads 4 --width 128 --context 64 --batch 12 --vocabulary 65 --steps 50

A step is: forward, cross-entropy, backward, clip the gradient norm to 1, AdamW; float32 (or autocast to bfloat16), eager (or compiled). The peer gets its
best settings: `F.scaled_dot_product_attention(is_causal=True)` (the fused CPU kernel), and of PyTorch's fused, foreach and plain
optimizer and of its two GELUs whichever is faster here (measured at the start, reported in the output).
Prints one JSON object. `--matmul` prints the best matrix products of this machine instead.
"""

import argparse
import json
import math
import resource
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

RSS_AFTER_IMPORT_BYTES = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c.heads
        self.qkv = nn.Linear(c.width, 3 * c.width)
        self.output = nn.Linear(c.width, c.width)

    def forward(self, x):
        b, t, m = x.shape
        q, k, v = (z.view(b, t, self.heads, m // self.heads).transpose(1, 2) for z in self.qkv(x).split(m, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(y.transpose(1, 2).contiguous().view(b, t, m))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm_1, self.attention = nn.LayerNorm(c.width), Attention(c)
        self.norm_2, self.up, self.down = nn.LayerNorm(c.width), nn.Linear(c.width, 4 * c.width), nn.Linear(4 * c.width, c.width)
        self.gelu = c.gelu

    def forward(self, x):
        x = x + self.attention(self.norm_1(x))
        return x + self.down(F.gelu(self.up(self.norm_2(x)), approximate=self.gelu))


class Gpt(nn.Module):
    """Learned positions, LayerNorm, GELU, tied head, biases: the tensors of GPT-2."""

    def __init__(self, c):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(c.vocabulary, c.width), nn.Embedding(c.context, c.width)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width)
        self.head = nn.Linear(c.width, c.vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * c.layers) if name.endswith(("output.weight", "down.weight")) else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, ids, targets):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def make_optimizer(model, kind):
    """nanoGPT's: no decay on vectors. `kind` is fused, foreach or plain."""
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    choice = {"fused": {"fused": True}, "foreach": {"foreach": True}, "plain": {"foreach": False}}[kind]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), **choice)


def make_step(c, optimizer_kind):
    torch.manual_seed(1337)
    model = Gpt(c)
    optimizer = make_optimizer(model, optimizer_kind)
    rows = [torch.randint(c.vocabulary, (c.batch, c.context + 1)) for _ in range(16)]
    batches = [(r[:, :-1].contiguous(), r[:, 1:].contiguous()) for r in rows]

    forward = torch.compile(model) if c.compile else model

    def step(i):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=c.amp == "bf16"):
            loss = forward(*batches[i % len(batches)])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=optimizer_kind != "plain")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    return model, step


def step_times(step, count):
    times = []
    for i in range(count):
        start = time.perf_counter()
        step(i)
        times.append(time.perf_counter() - start)
    return times


def fastest_settings(c, seconds_each=1.5):
    """The optimizer kind and the GELU with which this machine is fastest; medians of interleaved whole steps."""
    settings = [(kind, gelu) for kind in ("fused", "foreach", "plain") for gelu in ("tanh", "none")]
    steps, times = {}, {}
    for setting in settings:
        c.gelu = setting[1]
        steps[setting] = make_step(c, setting[0])[1]
        step_times(steps[setting], 2)
        times[setting] = []
    start = time.perf_counter()
    while time.perf_counter() - start < seconds_each * len(settings):
        for setting in settings:
            times[setting] += step_times(steps[setting], 1)
    return min(settings, key=lambda setting: statistics.median(times[setting]))


def flops_per_token(c):
    """Multiply-adds count 2, backward twice the forward; causal attention counts the half that is needed."""
    matrix_parameters = 12 * c.layers * c.width**2 + c.vocabulary * c.width
    return 6 * matrix_parameters + 6 * c.layers * c.context * c.width


def best_matmul_flops(kind):
    n = 2048
    a, b, out = (torch.randn(n, n).to(kind) for _ in range(3))
    times = []
    for _ in range(12):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        times.append(time.perf_counter() - start)
    return 2 * n**3 / min(times)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("layers", "heads", "width", "context", "batch", "vocabulary"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--settings", metavar="OPTIMIZER,GELU", help="as an earlier round reported them; default: measure")
    parser.add_argument("--amp", choices=("none", "bf16"), default="none", help="bf16: autocast")
    parser.add_argument("--compile", action="store_true", help="torch.compile with its default backend")
    parser.add_argument("--matmul", action="store_true")
    return parser.parse_args()


def main():
    c = parse()
    torch.set_num_threads(c.threads)
    if c.matmul:
        flops = {kind: best_matmul_flops(kind) for kind in (torch.float32, torch.bfloat16)}
        print(json.dumps({"peer": f"torch {torch.__version__}", "matmul_flops_per_second": flops[torch.float32],
                          "matmul_bf16_flops_per_second": flops[torch.bfloat16]}))  # fmt: skip
        return
    if c.settings is None:
        optimizer_kind, c.gelu = fastest_settings(c)
        print(json.dumps({"settings": f"{optimizer_kind},{c.gelu}"}))
        return
    optimizer_kind, c.gelu = c.settings.split(",")
    model, step = make_step(c, optimizer_kind)
    step_times(step, 3)
    times = step_times(step, c.steps)
    seconds = statistics.median(times)
    tokens = c.batch * c.context
    print(json.dumps({
        "peer": f"torch {torch.__version__}",
        "settings": c.settings,
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "step_seconds": seconds,
        "step_seconds_min": min(times),
        "tokens_per_second": tokens / seconds,
        "flops_per_second": flops_per_token(c) * tokens / seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "memory_after_import_bytes": RSS_AFTER_IMPORT_BYTES,
        "loss_nats": step(0).item(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
