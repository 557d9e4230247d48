"""lm-evaluation-harness's decontamination and ours on the same documents; see run.sh.

    compare.py TSUMUGI DATA OUT

Three decisions are compared: which documents share a 13-gram with an item, which items are contaminated, and what is left of
a document. Each that differs must have one of the REASONS, found by a rule of its own; exit 1 if one has none.
"""

import collections
import contextlib
import csv
import importlib
import io
import json
import os
import pathlib
import random
import re
import string
import subprocess
import sys
import types
import unittest.mock

N, WINDOW, SHORT, PIECES = 13, 200, 200, 10

REASONS = {
    "capital": "a capital letter beyond ASCII: the harness makes only ASCII's letters small, we all (GPT-3: lower case)",
    "punctuation word": "a word that is only punctuation: the harness in Python counts it when it reads a document and not when it reads an item, so that it misses the n-gram; we never count it, nor does its C++ form",
    "clean and short": "no n-gram, but less than 200 characters: the harness drops it, we keep what is clean",
    "overlapping": "more than ten n-grams, however they overlap: the harness drops the document; GPT-3 and we count the pieces it is cut into",
    "eleven pieces": "ten n-grams far from each other leave eleven pieces: GPT-3 and we drop the document, the harness keeps it",
    "border": "pieces of 200 characters, or an end one character off: the harness drops 200 (GPT-3: fewer than 200), and cuts 199 behind the last word",
}


def harness():
    """The harness's own modules, without its package, which would load PyTorch."""
    folder = pathlib.Path(importlib.util.find_spec("lm_eval").submodule_search_locations[0])
    package = types.ModuleType("lm_eval")
    package.__path__ = [str(folder)]
    sys.modules["lm_eval"] = package
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        janitor = importlib.import_module("lm_eval.decontamination.janitor")
        decontaminate = importlib.import_module("lm_eval.decontamination.decontaminate")
    return janitor, decontaminate


def read_items(data):
    gsm8k = [json.loads(line)["question"] for line in open(data / "gsm8k/test.jsonl", encoding="utf-8")]
    mmlu = []
    for path in sorted((data / "mmlu/test").glob("*.csv")):
        with open(path, encoding="utf-8", newline="") as file:
            mmlu += [row["question"] for row in csv.DictReader(file)]
    planted = ["Zoë ÉMILE À côté " + " ".join(f"mot{n}" for n in range(9)), "one - two " + " ".join(f"w{n}" for n in range(11))]
    return {"gsm8k": gsm8k[:400], "mmlu": mmlu[::12], "planted": planted}


def plant(items, paragraphs, generator):
    """Documents with whole items, parts of them of 12 and of 13 words, changed in ways that count and in ways that do not."""
    everything = [item for of_task in items.values() for item in of_task]

    def clean(count):
        return "\n".join(generator.sample(paragraphs, count))

    def part(words, length):
        start = generator.randrange(max(1, len(words) - length + 1))
        return words[start : start + length]

    changes = {
        "whole": lambda item: item,
        "upper": str.upper,
        "lower": str.lower,
        "no punctuation": lambda item: item.translate(str.maketrans("", "", string.punctuation)),
        "lines": lambda item: "\n".join(item.split()),
        "wide spaces": lambda item: "  \t".join(item.split()),
        "more punctuation": lambda item: " ".join(f'"{word},"' for word in item.split()),
        "dashes": lambda item: " - ".join(item.split(". ")),
        "12 words": lambda item: " ".join(part(item.split(), 12)),
        "13 words": lambda item: " ".join(part(item.split(), 13)),
        "14 words": lambda item: " ".join(part(item.split(), 14)),
        "a word changed": lambda item: " ".join(word if n % 12 else "other" for n, word in enumerate(item.split())),
        "backwards": lambda item: " ".join(reversed(item.split())),
    }
    documents = [clean(1 + n % 6) for n in range(200)]
    documents += [paragraph[: 150 + n] for n, paragraph in enumerate(generator.sample(paragraphs, 100))]
    for _ in range(60):
        for change in changes.values():
            # Around the numbers of the rule: the rest before and behind is 390 to 410 characters, or any.
            before, behind = (clean(3)[: generator.randrange(390, 411)] if generator.random() < 0.5 else clean(2) for _ in range(2))
            documents.append(f"{before} {change(generator.choice(everything))} {behind}")
    for count in [*range(1, 14)] * 4:
        thirteen = " ".join(part(generator.choice([item for item in everything if len(item.split()) > 20]).split(), 13))
        documents.append(f" {thirteen} ".join(clean(3) for _ in range(count + 1)))
    documents += [f"{clean(1)} {item.upper()} {clean(1)}" for item in items["planted"] for _ in range(3)]
    return [document.strip() for document in documents]


def ours(tsumugi, out, documents, items, action):
    """By document: its text after the run, or none; and the report of the stage."""
    import zstandard

    write_lines(out / "documents.jsonl", ({"id": str(n), "text": text} for n, text in enumerate(documents)))
    recipe = [f'[[source]]\nname = "documents"\npaths = ["{out}/documents.jsonl"]\n', f'[[stage]]\nkind = "decontaminate"\naction = "{action}"\n']
    for task, texts in items.items():
        write_lines(out / f"{task}.jsonl", ({"id": str(n), "text": text} for n, text in enumerate(texts)))
        recipe.append(f'[[stage.benchmarks]]\nname = "{task}"\npaths = ["{out}/{task}.jsonl"]\n')
    (out / f"{action}.toml").write_text("\n".join(recipe))
    subprocess.run([tsumugi, "data", "run", out / f"{action}.toml", "--out", out / action], check=True, capture_output=True)
    kept = {}
    for path in (out / action / "documents").glob("*.jsonl.zst"):
        with zstandard.open(path, "rt", encoding="utf-8") as file:
            entries = [json.loads(line) for line in file]
        kept.update((int(entry["id"]), entry["text"]) for entry in entries)
    (report,) = (out / action / "stages").glob("*decontaminate.json")
    return kept, json.loads(report.read_text())


def write_lines(path, entries):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in entries)


def contaminated_items(decontaminate, janitor, out, documents, items):
    """What `get_train_overlap` says of the n-grams of all documents, in the sorted files that it asks for."""
    import zstandard

    folder = out / "harness"
    folder.mkdir()
    (folder / "info.json").write_text(json.dumps({"ngram_size": N}))
    cleaner = janitor.Janitor()
    grams = sorted(
        f"{gram} {number}\n" for number, text in enumerate(documents) for gram in janitor.word_ngrams(cleaner.normalize_string(text), N)
    )
    (folder / "ngrams.bkt.txt.sorted.zst").write_bytes(zstandard.ZstdCompressor().compress("".join(grams).encode()))
    (folder / "data").mkdir()
    os.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        found = decontaminate.get_train_overlap({(task, "test"): texts for task, texts in items.items()}, str(folder), 0)
    return {(task, number) for task, numbers in found.items() for number in numbers}


def words_of(text, lower):
    """Words by the plain definition, with their places: between white space, ASCII's punctuation deleted, those of nothing left out."""
    delete = str.maketrans("", "", string.punctuation)
    found = ((lower(match.group().translate(delete)), match.span()) for match in re.finditer(r"\S+", text))
    return [(word, span) for word, span in found if word]


def grams(text, lower):
    words = [word for word, _ in words_of(text, lower)]
    return {tuple(words[n : n + N]) for n in range(len(words) - N + 1)}


def places_of(text, known):
    words = words_of(text, str.lower)
    starts = range(len(words) - N + 1)
    return [(words[n][1][0], words[n + N - 1][1][1]) for n in starts if tuple(word for word, _ in words[n : n + N]) in known]


def gpt3_rest(text, places):
    """What GPT-3's rule leaves of a text, or none: 200 characters around go, then pieces of less than 200, then texts of over 10."""
    pieces, at = [], 0
    for start, end in places:
        pieces.append(text[at : max(at, start - WINDOW)])
        at = max(at, end + WINDOW)
    pieces = [piece for piece in [*pieces, text[at:]] if len(piece) >= SHORT]
    return "\n".join(pieces) if 0 < len(pieces) <= PIECES else ""


def ascii_lower(word):
    return "".join(letter.lower() if letter.isascii() else letter for letter in word)


def main(tsumugi, data, out):
    tsumugi, data, out = str(pathlib.Path(tsumugi).resolve()), pathlib.Path(data), pathlib.Path(out).resolve()
    janitor, decontaminate = harness()
    generator = random.Random(5)
    items = read_items(data)
    text = (data / "wikitext-2/valid.txt").read_text(encoding="utf-8")
    paragraphs = [line.strip() for line in text.splitlines() if len(line) > 500]
    documents = plant(items, paragraphs, generator)
    cleaner = janitor.Janitor()
    with contextlib.redirect_stdout(io.StringIO()):
        for of_task in items.values():
            for item in of_task:
                cleaner.register_contaminant_python(item)
    dirty = {}

    def split(text, parts):
        parts = list(parts)
        dirty["now"] = len(parts)
        return janitor.Janitor._split_chunks(cleaner, text, parts)

    theirs = []
    for document in documents:
        with unittest.mock.patch.object(cleaner, "_split_chunks", split):
            chunks = cleaner.clean_python(document)
        theirs.append((dirty["now"], chunks))
    kept_when_dropping, report = ours(tsumugi, out, documents, items, "drop")
    kept_when_cutting, _ = ours(tsumugi, out, documents, items, "cut")
    tally, unexplained = collections.Counter(), []

    def note(what, reason, example):
        if reason in REASONS:
            tally[what, reason] += 1
        else:
            unexplained.append((what, reason, example))

    plain = {True: set(), False: set()}
    for of_task in items.values():
        for item in of_task:
            plain[True] |= grams(item, str.lower)
            plain[False] |= grams(item, ascii_lower)
    for number, (document, (count, chunks)) in enumerate(zip(documents, theirs)):
        found = number not in kept_when_dropping
        if found != (count > 0):
            if not found:
                reason = "the harness finds what we do not"
            elif not grams(document, ascii_lower) & plain[False]:
                reason = "capital"
            elif any(not word.strip(string.punctuation) for word in document.split()):
                reason = "punctuation word"
            else:
                reason = "none"
            note("documents that are found", reason, number)
            continue
        rest = kept_when_cutting.get(number, "")
        places = places_of(document, plain[True])
        if rest != (gpt3_rest(document, places) if places else document):
            unexplained.append(("what is left", "not GPT-3's rule", number))
        if rest != "\n".join(chunks):
            note("what is left", left_reason(count, places, chunks, rest, document), number)
    by_us = {(task["name"], int(item["id"])) for task in report for item in task["contaminated"]}
    by_them = contaminated_items(decontaminate, janitor, out, documents, items)
    lower = set().union(*(grams(document, ascii_lower) for document in documents))
    for task, number in sorted(by_us ^ by_them):
        is_capital = (task, number) in by_us and not grams(items[task][number], ascii_lower) & lower
        note("items that are found", "capital" if is_capital else "none", (task, number))
    undecidable = sum(len(task["undecidable"]) for task in report)
    short = sum(not grams(item, str.lower) for of_task in items.values() for item in of_task)
    if undecidable != short:
        unexplained.append(("items too short", f"{undecidable}, by the definition {short}", ""))
    print(f"{len(documents)} documents, {sum(map(len, items.values()))} items, {short} of them too short to decide about")
    print(f"found by both: {sum(c > 0 and n not in kept_when_dropping for n, (c, _) in enumerate(theirs))} documents, {len(by_us & by_them)} items")
    for (what, reason), count in sorted(tally.items()):
        print(f"{count:5} {what}: {REASONS[reason]}")
    for what, reason, example in unexplained[:20]:
        print(f"WITHOUT REASON {what}: {reason} ({example})")
    print(f"{len(unexplained)} differences without a reason")
    return len(unexplained)


def left_reason(count, places, chunks, rest, document):
    if count == 0:
        return "clean and short" if len(document) <= SHORT and not chunks and rest == document else "none"
    if count > PIECES and not chunks:
        return "overlapping"
    if len(chunks) > PIECES and not rest:
        return "eleven pieces"
    if count < len(places):
        return "punctuation word"
    # One character more or less at an end, and pieces that are just long enough.
    mine, theirs = rest.split("\n") if rest else [], "\n".join(chunks).split("\n") if chunks else []
    lines = lambda pieces: [line for line in pieces if line]
    mine, theirs = lines(mine), lines(theirs)
    if abs(sum(map(len, mine)) - sum(map(len, theirs))) <= 2 * count + (SHORT + 2) * abs(len(mine) - len(theirs)):
        return "border"
    return f"{count} n-grams, {len(rest)} characters of ours, {len(chr(10).join(chunks))} of theirs"


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:4]) else 0)
