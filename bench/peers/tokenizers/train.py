"""Trainers: ours, rustbpe, Hugging Face tokenizers, SentencePiece; see train.sh.

    train.py TRAIN_TIME CORPUS OUT THREADS

Times alternate. Vocabularies are compared as sets (ties fall differently), compression on the corpus; what we wrote is loaded
by the peer's library and must give the same ids as our other file of it. Exit 1 if ours compresses over 1 % worse.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

ROUNDS = 3
GPT4_PATTERN = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""


def seconds(work):
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def hugging_face_bpe(lines, size):
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(GPT4_PATTERN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=size, min_frequency=2, initial_alphabet=alphabet, show_progress=False))
    return tokenizer


def hugging_face_word_piece(lines, size):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(lines, trainers.WordPieceTrainer(vocab_size=size, min_frequency=2, special_tokens=special, show_progress=False))
    return tokenizer


def rustbpe(text, size):
    import rustbpe

    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator([text], size, pattern=GPT4_PATTERN)


def sentencepiece(corpus, out, kind, size, threads):
    import sentencepiece

    prefix = str(out / f"peer-{kind}")
    sentencepiece.SentencePieceTrainer.train(
        input=corpus, model_prefix=prefix, model_type=kind, vocab_size=size, num_threads=threads, minloglevel=2,
        normalization_rule_name="identity", input_sentence_size=0, max_sentence_length=1 << 20,
    )
    return sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")


def main(train_time, corpus, out, threads):
    import sentencepiece as library
    from tokenizers import Tokenizer

    os.environ["RAYON_NUM_THREADS"] = str(threads)
    out = pathlib.Path(out)
    text = pathlib.Path(corpus).read_bytes().decode()
    lines = text.splitlines(keepends=True)
    sample = lines[:: max(1, len(lines) // 20000)]
    worse = 0

    def ours(kind, size):
        command = [train_time, corpus, str(out / kind), kind, str(size), str(threads)]
        subprocess.run(command, check=True)
        return float((out / kind / "seconds.txt").read_text())

    def report(kind, peers, mine, theirs):
        nonlocal worse
        times = {name: [] for name in ["ours", *peers]}
        for _ in range(ROUNDS):
            for name, work in {"ours": lambda: ours(kind, sizes[kind]), **peers}.items():
                spent, result = seconds(work)
                times[name].append(result if name == "ours" else spent)
        best = {name: min(spent) for name, spent in times.items()}
        shown = "  ".join(f"{name} {spent:.2f} s ({spent / best['ours']:.1f})" for name, spent in best.items())
        ratio = mine() / theirs()
        worse += ratio > 1.01
        print(f"{kind:18} {shown}  our tokens / theirs {ratio:.4f}", flush=True)

    def count(encode):
        return sum(len(encode(line)) for line in sample)

    sizes = {"bpe": 32768, "wordpiece": 30522, "sentencepiece-bpe": 8000, "unigram": 8000}
    for kind, work in (("bpe", hugging_face_bpe), ("wordpiece", hugging_face_word_piece)):
        kept = {}
        peers = {"tokenizers": lambda: kept.update(peer=work(lines, sizes[kind]))}
        if kind == "bpe":
            peers["rustbpe"] = lambda: rustbpe(text, sizes[kind])
        own = lambda: Tokenizer.from_file(str(out / kind / "tokenizer.json"))
        ids = lambda tokenizer: lambda line: tokenizer.encode(line, add_special_tokens=False).ids
        report(kind, peers, lambda: count(ids(own())), lambda: count(ids(kept["peer"])))
        shared = len(own().get_vocab().keys() & kept["peer"].get_vocab().keys())
        print(f"{'':18} {shared} of {sizes[kind]} tokens are the same")
    for kind, name in (("sentencepiece-bpe", "bpe"), ("unigram", "unigram")):
        kept = {}
        peers = {"sentencepiece": lambda: kept.update(peer=sentencepiece(corpus, out, name, sizes[kind], threads))}
        own = lambda: library.SentencePieceProcessor(model_file=str(out / kind / "tokenizer.model"))
        report(kind, peers, lambda: count(own().encode), lambda: count(kept["peer"].encode))
        other = Tokenizer.from_file(str(out / kind / "tokenizer.json"))
        read = own()
        plain = [line.strip() for line in sample if line.strip()]
        equal = sum(read.encode(line) == other.encode(line, add_special_tokens=False).ids for line in plain)
        print(f"{'':18} tokenizer.json in tokenizers and tokenizer.model in sentencepiece: {equal} of {len(plain)} lines have equal ids")
    return worse


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])) else 0)
