"""Passages of other documents planted into real text, byte for byte: what of them is found as repeated substrings.

    substrings.py plant TEXT OUT.jsonl [DOCUMENTS]     # TEXT: one paragraph a line
    substrings.py score IN.jsonl OURS_FOLDER            # what `tsumugi data run` left, and text-dedup on the same documents

text-dedup's method (`text_dedup.suffix_array`) calls google-research's `deduplicate-text-datasets` for the suffix array and the
places of equal substrings, which is in no package registry: here pydivsufsort makes the suffix array, and text-dedup's own
functions make the cuts of it. It cuts the first of equal passages too, ours leaves it; each is scored by what it is to find.
"""
import difflib
import json
import random
import subprocess
import sys
from pathlib import Path

from compare import originals

LENGTH = 200
# Bytes of a planted passage; those below LENGTH are not to be found.
LENGTHS = (120, 180, 200, 220, 300, 500, 1000, 2000)


def utf8(text, start, length):
    """About so many bytes of a text from `start` on, whole characters."""
    return text[start : start + length].decode("utf-8", "ignore").encode()


def begin_of_character(text, at):
    while at < len(text) and text[at] & 0xC0 == 0x80:
        at += 1
    return at


def windows(text):
    return (hash(text[at : at + LENGTH]) for at in range(len(text) - LENGTH + 1))


def unique_documents(path, count, rng):
    """Documents that share no substring of LENGTH bytes, with themselves or with others."""
    seen, found = set(), []
    for lines in originals(path, 2 * count, rng):
        text = "\n".join(lines).encode()
        here = list(windows(text))
        if len(here) == len(set(here)) and not seen.intersection(here):
            seen.update(here)
            found.append(text)
    return found[:count]


def plant(path, out, count="600"):
    rng = random.Random(6)
    bases = unique_documents(path, int(count), rng)
    with open(out, "w", encoding="utf-8") as file:
        for number, base in enumerate(bases):
            text, planted = base, []
            kind = ("as it is", "copied", "copied", "altered")[number % 4] if number else "as it is"
            if kind != "as it is":
                # Of one that stays whole.
                of = rng.randrange(0, number, 4)
                source, length = bases[of], rng.choice(LENGTHS)
                start = begin_of_character(source, rng.randrange(max(1, len(source) - length)))
                passage = utf8(source, start, length)
                if kind == "altered":
                    # A wrong character in every stretch that could be found.
                    passage = "".join(
                        "~" if at % (LENGTH // 4) == 20 else character for at, character in enumerate(passage.decode())
                    ).encode()
                at = begin_of_character(base, rng.randrange(len(base)))
                text = base[:at] + passage + base[at:]
                planted = [{"at": at, "of": of, "start": start, "bytes": len(passage), "kind": kind}]
            line = {"id": str(number), "text": text.decode(), "planted": planted}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    print(json.dumps({"documents": len(bases), "bytes": Path(out).stat().st_size}))


def expected(texts):
    """By the definition: equal windows but the first, without what lies in a first one. Of each text a set of places."""
    first, equal = {}, set()
    for number, text in enumerate(texts):
        for at, window in enumerate(windows(text)):
            if first.setdefault(window, (number, at)) != (number, at):
                equal.add(window)
    found = []
    for number, text in enumerate(texts):
        repeated, stays = set(), set()
        for at, window in enumerate(windows(text)):
            if window in equal:
                (stays if first[window] == (number, at) else repeated).update(range(at, at + LENGTH))
        found.append(repeated - stays)
    return found


def ours(folder, texts, definition):
    """Of each text the places that were cut out, and how many texts are as the definition says."""
    lines = [
        json.loads(line)
        for path in sorted(Path(folder, "documents").iterdir())
        for line in subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout.splitlines()
    ]
    left = {line["id"]: line["text"].encode() for line in lines}
    cut, equal = [], 0
    for number, text in enumerate(texts):
        rest, should = left.get(str(number), b""), definition[number]
        if rest == bytes(byte for at, byte in enumerate(text) if at not in should):
            equal += 1
            cut.append(should)
            continue
        blocks = difflib.SequenceMatcher(None, text, rest, autojunk=False).get_matching_blocks()
        cut.append(set(range(len(text))) - {at for block in blocks for at in range(block.a, block.a + block.size)})
    return cut, equal


def text_dedup(texts):
    import pydivsufsort
    from text_dedup.suffix_array import restore_and_merge

    whole = b"".join(texts)
    order = pydivsufsort.divsufsort(whole)
    shared = pydivsufsort.kasai(whole, order)  # of each with the next
    equal = sorted({int(order[at + step]) for at in range(len(order) - 1) if shared[at] >= LENGTH for step in (0, 1)})
    segments = []
    for at in equal:
        if segments and at <= segments[-1].stop:
            segments[-1] = slice(segments[-1].start, at + LENGTH)
        else:
            segments.append(slice(at, at + LENGTH))
    bounds, start = [], 0
    for text in texts:
        bounds.append(slice(start, start + len(text)))
        start += len(text)
    found, _ = restore_and_merge(bounds, segments, LENGTH, "overlapping")
    return [{at for part in parts for at in range(part.start, part.stop)} for parts in found]


def row(name, found, truth, altered):
    hits = sum(len(one & other) for one, other in zip(found, truth))
    precision, recall = hits / max(1, sum(map(len, found))), hits / sum(map(len, truth))
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    touched = sum(len(one & other) for one, other in zip(found, altered))
    print(f"| {name} | {precision:.4f} | {recall:.4f} | {f1:.4f} | {touched} |")


def score(source, folder):
    lines = [json.loads(line) for line in open(source, encoding="utf-8")]
    texts = [line["text"].encode() for line in lines]
    copies, both, altered = ([set() for _ in texts] for _ in range(3))
    for number, line in enumerate(lines):
        for part in line["planted"]:
            here = range(part["at"], part["at"] + part["bytes"])
            if part["kind"] == "altered":
                altered[number].update(here)
            elif part["bytes"] >= LENGTH:
                copies[number].update(here)
                both[number].update(here)
                both[part["of"]].update(range(part["start"], part["start"] + part["bytes"]))
    definition = expected(texts)
    cut, equal = ours(folder, texts, definition)
    print("| | precision (bytes) | recall | F1 | bytes of altered passages |\n|---|--:|--:|--:|--:|")
    row("ours", cut, copies, altered)
    row("text-dedup", text_dedup(texts), both, altered)
    print(f"\n{equal} of {len(texts)} documents are cut as the definition says, written plainly.")


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"plant": plant, "score": score}[command](*arguments)
