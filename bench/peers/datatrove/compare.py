"""datatrove's decisions on the documents of a JSONL file, and every one that is not ours.

    compare.py judge IN.jsonl OUT.jsonl     # datatrove, timed
    compare.py compare IN.jsonl THEIRS.jsonl OURS.jsonl
"""
import json
import sys
import time
from collections import Counter

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4ParagraphFilter,
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.text import split_into_words

FILTERS = {
    "gopher_quality": GopherQualityFilter(),
    "gopher_repetition": GopherRepetitionFilter(),
    "c4_quality": C4QualityFilter(),
    "c4_paragraphs": C4ParagraphFilter(),
    "fineweb": FineWebQualityFilter(),
}
OUR_NAMES = {"< 3 paragraphs": "c4_few_paragraphs"}


def read(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def judge(text):
    verdicts = {}
    for name, one in FILTERS.items():
        document = Document(text=text, id="0")
        try:
            result = one.filter(document)
        except Exception as problem:  # what their code does not survive is a finding too
            result = False, f"{type(problem).__name__}: {problem}"
        kept, reason = result if isinstance(result, tuple) else (result, None)
        verdicts[name] = None if kept else OUR_NAMES.get(reason, reason)
        if name == "c4_quality" and kept:
            verdicts["c4_text"] = document.text
    return verdicts


def judge_all(source, target):
    texts = [document["text"] for document in read(source)]
    judge("Warm the tokenizer up.")
    begin = time.perf_counter()
    judged = [judge(text) for text in texts]
    seconds = time.perf_counter() - begin
    with open(target, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(verdicts, ensure_ascii=False) + "\n" for verdicts in judged)
    print(json.dumps({"documents": len(texts), "seconds": seconds, "threads": 1}))


def compare(source, theirs, ours):
    counts, differences = Counter(), Counter()
    for number, (document, their, our) in enumerate(zip(read(source), read(theirs), read(ours), strict=True)):
        for name in (*FILTERS, "c4_text"):
            counts[name, their.get(name)] += name != "c4_text"
            if their.get(name) != our.get(name):
                differences[name] += 1
                if differences[name] <= 5:
                    text = document["text"]
                    print(f"document {number}, {name}: theirs {their.get(name)!r:.200}, ours {our.get(name)!r:.200}\n  {text[:300]!r}")
    for (name, reason), count in sorted(counts.items(), key=str):
        if count:
            print(f"{count:7} {name}: {reason or 'kept'}")
    print(f"differences: {dict(differences) or 'none'}")
    return bool(differences)


def words(source):
    """Writes the words of each document, to look into a difference."""
    for document in read(source):
        print(json.dumps(split_into_words(document["text"]), ensure_ascii=False))


if __name__ == "__main__":
    command, *paths = sys.argv[1:]
    sys.exit({"judge": judge_all, "compare": compare, "words": words}[command](*paths))
