"""Compares transformers and ours on two folders: compare.py BINARY BGE CROSS_ENCODER; exit 1 where they differ; see run."""

import json
import math
import subprocess
import sys

import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

LONG = "word " * 700  # more than the 512 tokens that both models read
TEXTS = ["The cat sits outside.", "A feline rests outdoors.", "Stock markets fell sharply.", "日本 café, 12", LONG]
QUERY = "What is the capital of France?"
PASSAGES = ["Paris is the capital of France.", "Bananas are rich in potassium.", "The city of light, seat of the French government, is Paris.", LONG]
TOLERANCE = 1e-5


def ours(binary, *arguments):
    done = subprocess.run([binary, *arguments, "--compute", "f32", "--json"], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def vectors(folder):
    """The first token's, as BGE wants it, of length 1."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    read = lambda text: tokenizer(text, return_tensors="pt", truncation=True, max_length=512)
    with torch.no_grad():
        return [torch.nn.functional.normalize(model(**read(text)).last_hidden_state[0, 0], dim=0).tolist() for text in TEXTS]


def scores(folder):
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder).eval()
    read = lambda passage: tokenizer(QUERY, passage, return_tensors="pt", truncation="only_second", max_length=512)
    with torch.no_grad():
        return [torch.sigmoid(model(**read(passage)).logits[0, 0]).item() for passage in PASSAGES]


def main(binary, bge, cross_encoder):
    embedded = [line["embedding"] for line in ours(binary, "embed", bge, *TEXTS, "--pooling", "first")]
    lengths = [math.sqrt(sum(number**2 for number in vector)) for vector in embedded]
    of_vectors = max(
        abs(number / length - wanted)
        for vector, length, expected in zip(embedded, lengths, vectors(bge), strict=True)
        for number, wanted in zip(vector, expected, strict=True)
    )
    [answer] = ours(binary, "rerank", cross_encoder, QUERY, *PASSAGES)
    expected = scores(cross_encoder)
    of_scores = max(abs(result["score"] - expected[result["index"]]) for result in answer["results"])
    print(f"bge-small-en, {len(TEXTS)} texts: largest difference of vectors of length 1: {of_vectors:.1e}")
    print(f"cross-encoder, {len(PASSAGES)} passages: largest difference of scores: {of_scores:.1e}; scores {[f'{score:.5f}' for score in expected]}")
    return max(of_vectors, of_scores) <= TOLERANCE


if __name__ == "__main__":
    sys.exit(0 if main(*sys.argv[1:]) else 1)
