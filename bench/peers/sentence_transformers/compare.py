#!/usr/bin/env python3
"""all-MiniLM-L6-v2 as sentence-transformers runs it on PyTorch, and here: the same vectors, and texts per second.

The peer is its `encode`, written out over `transformers` (which it calls): texts sorted by length, padded batches, mean over
the tokens, length one. Its batch size is the fastest of those tried. Both count from the texts to the vectors, tokenizing
included and loading not; rounds in turn, medians.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy
import torch
import transformers

BATCH_SIZES = (8, 16, 32, 64, 128)


def read_texts(path: pathlib.Path, count: int) -> dict[str, list[str]]:
    """Lines, and paragraphs on one line each."""
    text = path.read_text()
    pieces = {"lines": text.splitlines(), "paragraphs": text.split("\n\n")}
    return {kind: [" ".join(piece.split()) for piece in found if piece.split()][:count] for kind, found in pieces.items()}


class Peer:
    def __init__(self, folder: pathlib.Path, max_length: int):
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = transformers.AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
        self.max_length = max_length

    def encode(self, texts: list[str], batch_size: int) -> numpy.ndarray:
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        vectors = [None] * len(texts)
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                inputs = self.tokenizer(
                    [texts[index] for index in batch], padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
                )
                hidden = self.model(**inputs).last_hidden_state
                mask = inputs["attention_mask"].unsqueeze(-1).float()
                pooled = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1))
                for index, vector in zip(batch, pooled):
                    vectors[index] = vector.numpy()
        return numpy.stack(vectors)


def ours(binary: str, model: pathlib.Path, texts: pathlib.Path, threads: int, folder: pathlib.Path) -> tuple[float, numpy.ndarray]:
    out = folder / "ours.npy"
    command = [binary, "embed", str(model), "--file", str(texts), "--out", str(out), "--threads", str(threads), "--json"]
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
    return answer["seconds"], numpy.load(out)


def timed(call) -> tuple[float, numpy.ndarray]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tsumugi", required=True)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--texts", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=2000, help="texts of each kind")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    peer = Peer(arguments.model, max_length=256)
    for kind, texts in read_texts(arguments.texts, arguments.count).items():
        for threads in arguments.threads:
            compare(arguments, peer, kind, texts, threads)


def compare(arguments: argparse.Namespace, peer: Peer, kind: str, texts: list[str], threads: int) -> None:
    torch.set_num_threads(threads)
    sample = texts[:: max(1, len(texts) // 400)]
    batch_size = min(BATCH_SIZES, key=lambda size: timed(lambda: peer.encode(sample, size))[0])
    theirs, mine = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "texts.txt").write_text("\n".join(texts) + "\n")
        for _ in range(arguments.rounds):
            seconds, found = ours(arguments.tsumugi, arguments.model, folder / "texts.txt", threads, folder)
            mine.append(len(texts) / seconds)
            seconds, expected = timed(lambda: peer.encode(texts, batch_size))
            theirs.append(len(texts) / seconds)
    ratios = [a / b for a, b in zip(mine, theirs)]
    print(
        f"{len(texts)} {kind}, {threads} threads: ours {statistics.median(mine):.0f} texts/s, theirs {statistics.median(theirs):.0f} "
        f"(batches of {batch_size}), ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); "
        f"vectors differ by {numpy.abs(found - expected).max():.1e} at most"
    )


if __name__ == "__main__":
    main()
