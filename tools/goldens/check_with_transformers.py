#!/usr/bin/env python3
"""Opens a model folder that Tsumugi wrote with `transformers` and compares what the two compute.

    .venv-peers/bin/python tools/goldens/check_with_transformers.py MODEL_DIR [--json OURS.json] [--text TEXT]

OURS.json is what Tsumugi computed. Keys, all but the first two optional:

    {"ids": [1, 2, 3],                  token ids that were fed in
     "logits": [[...], [...], [...]],   one row of the vocabulary's size for each id, float32 path
     "text": "To be, or not",           a text and, in "ids", its ids without added special tokens: tokenizers are compared
     "decoded": "To be, or not",        what Tsumugi decodes "ids" to
     "messages": [{"role": ..., "content": ...}],   a conversation ...
     "prompt": "..."}                               ... and what its chat template renders to (with generation prompt)

Without --json it prints the argmax and the largest logits for TEXT, to look at. Exit 0: all equal within the
tolerance; 1: something differs (each difference is printed); 2: the folder or the file could not be read.
"""

import argparse
import json
import math
import pathlib
import sys

import torch
import transformers


def open_folder(folder: pathlib.Path):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation="eager",
        experts_implementation="eager",  # the others take no experts whose width is odd
        local_files_only=True,
        output_loading_info=True,
    )
    tokenizer = None
    if (folder / "tokenizer.json").exists():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return model.eval(), tokenizer, info


def compare_loading(info: dict) -> list[str]:
    """`transformers` only warns about names that do not fit; here each is a difference."""
    return [f"{kind}: {sorted(map(str, info[kind]))}" for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if info.get(kind)]


def compare_logits(model, ours: dict, tolerance: float) -> list[str]:
    want = logits_of(model, ours["ids"])
    got = torch.tensor(ours["logits"], dtype=torch.float32)
    if want.shape != got.shape:
        return [f"logits: transformers has shape {list(want.shape)}, ours {list(got.shape)}"]
    difference = (want - got).abs()
    largest = difference.max().item()
    scale = want.abs().max().item()
    print(f"logits: {list(want.shape)}, largest difference {largest:.3e}, largest logit {scale:.3f}")
    # `not <=` and not `>`: a difference of NaN is a difference.
    if not largest <= tolerance * max(1.0, scale):
        row, column = divmod(difference.nan_to_num(math.inf).argmax().item(), want.shape[1])
        return [f"logits: position {row}, token {column}: transformers {want[row, column]:.6f}, ours {got[row, column]:.6f}"]
    return []


def compare_text(tokenizer, ours: dict) -> list[str]:
    if tokenizer is None:
        return ["text: the folder has no tokenizer.json"] if "text" in ours else []
    differences = []
    if "text" in ours:
        want = tokenizer.encode(ours["text"], add_special_tokens=False)
        print(f"tokenizer: {len(want)} tokens")
        if want != ours["ids"]:
            differences.append(f"ids: transformers {want[:16]}..., ours {ours['ids'][:16]}...")
    if "decoded" in ours:
        want = tokenizer.decode(ours["ids"], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if want != ours["decoded"]:
            differences.append(f"decoded: transformers {want!r}, ours {ours['decoded']!r}")
    if "messages" in ours:
        want = tokenizer.apply_chat_template(ours["messages"], tokenize=False, add_generation_prompt=True)
        print(f"chat template: {len(want)} characters")
        if want != ours["prompt"]:
            differences.append(f"prompt: transformers {want!r}, ours {ours['prompt']!r}")
    return differences


def logits_of(model, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float()


def show(model, tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    logits = logits_of(model, ids)[-1]
    top = torch.topk(logits, 5)
    print(json.dumps({"text": text, "ids": ids, "top_ids": top.indices.tolist(), "top_logits": top.values.tolist()}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, metavar="MODEL_DIR")
    parser.add_argument("--json", type=pathlib.Path, metavar="OURS.json")
    parser.add_argument("--text", default="To be, or not to be")
    parser.add_argument("--tolerance", type=float, default=2e-5, help="of the largest logit, or of 1 if that is smaller")
    arguments = parser.parse_args()
    if not (arguments.folder / "config.json").is_file():
        print(f"error: {arguments.folder} is not a model folder: it has no config.json", file=sys.stderr)
        return 2
    try:
        ours = json.loads(arguments.json.read_text()) if arguments.json else None
        model, tokenizer, info = open_folder(arguments.folder)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    parameters = sum(p.numel() for p in model.parameters())
    print(f"transformers {transformers.__version__} opened {type(model).__name__} with {parameters:,} parameters")
    differences = compare_loading(info)
    if ours is not None:
        differences += compare_logits(model, ours, arguments.tolerance) + compare_text(tokenizer, ours)
    elif tokenizer is not None:
        show(model, tokenizer, arguments.text)
    for difference in differences:
        print(f"differs: {difference}")
    print("equal" if ours is not None and not differences else f"{len(differences)} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
