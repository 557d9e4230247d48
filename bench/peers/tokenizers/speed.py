"""Encoding speed and ids of public vocabularies: ours, Hugging Face tokenizers, tiktoken, in turn; see speed.sh.

    speed.py PEER_IDS CORPUS OUT VOCABULARY...

One thread each, one call on the whole corpus, in a process that has done it once before; rounds in turn, medians. Exit 1 if
ids differ from the vocabulary's own implementation.
"""

import base64
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
ROUNDS = 5


def rate(encode, corpus):
    started = time.perf_counter()
    ids = encode(corpus)
    return len(corpus.encode()) / 1e6 / (time.perf_counter() - started), ids


def own_implementation(path):
    """What defines the vocabulary: its name and a function from text to ids; none where it is the tokenizer.json itself."""
    import tiktoken
    import tiktoken_ext.openai_public as public

    if path.suffix == ".tiktoken":
        lines = [line.split() for line in path.read_bytes().splitlines() if line]
        ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
        public.load_tiktoken_bpe = lambda *_, **__: ranks
        encoding = tiktoken.Encoding(**getattr(public, path.stem)())
        return "tiktoken", lambda text: encoding.encode(text, disallowed_special=())
    if ".model" in path.name:
        import sentencepiece

        processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        return "sentencepiece", processor.encode
    return None


def main(peer_ids, corpus_path, out, vocabularies):
    import tokenizers

    corpus = pathlib.Path(corpus_path).read_text(encoding="utf-8")
    out = pathlib.Path(out)
    (out / "texts.json").write_text(json.dumps([corpus]))
    print(f"{len(corpus.encode()) / 1e6:.1f} MB, {ROUNDS} rounds in turn, one thread; MB/s as median (lowest to highest)")
    different = 0
    for path in map(pathlib.Path, vocabularies):
        written = out / "written.json"
        command = [peer_ids, str(path), str(out / "texts.json"), str(out / "ours.json"), corpus_path, str(written)]
        subprocess.run(command, check=True)
        ids = json.loads((out / "ours.json").read_text())["ids"][0]
        hugging_face = tokenizers.Tokenizer.from_file(str(written))
        hugging_face.encode_special_tokens = True
        peers = {"tokenizers": lambda text: hugging_face.encode(text, add_special_tokens=False).ids}
        if own := own_implementation(path):
            peers[own[0]] = own[1]
        judge = list(peers)[-1]
        equal = peers[judge](corpus) == ids  # also their first call, which is not timed
        different += not equal
        rates = {name: [] for name in ["ours", *peers]}
        for _ in range(ROUNDS):
            subprocess.run(command, check=True)
            rates["ours"].append(json.loads((out / "ours.json").read_text())["megabytes_per_second"][-1])
            for name, encode in peers.items():
                rates[name].append(rate(encode, corpus)[0])
        ours = statistics.median(rates["ours"])
        line = f"{path.name:36} ours {ours:6.1f} ({min(rates['ours']):.1f} to {max(rates['ours']):.1f})"
        for name in peers:
            median = statistics.median(rates[name])
            line += f"   {name} {median:6.2f} ({min(rates[name]):.2f} to {max(rates[name]):.2f}), ratio {ours / median:6.1f}"
        print(f"{line}   ids {'equal' if equal else 'DIFFERENT'} ({judge})", flush=True)
    return different


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]) else 0)
