"""Writes documents for the comparison: real text that is named, and texts made to be hard.

    corpus.py OUT.jsonl HARD_TEXTS [FILE OR FOLDER ...]
"""
import html
import json
import random
import re
import sys
from pathlib import Path

MAX_CHARACTERS = 20_000
PIECES = (
    "word the of and to . , ; : ! ? ... … '' ' \" ( ) [ ] { } # * _ - -- --- — – / \\ | @ $5 5$ 5km 10:30 5pm 5p.m. 10a.m. a.m. "
    "e.g. i.e. U.S. U.S.A. Mr. can't cannot won't it's it’s I'm Im he'll y'all c'mon gonna o'clock 'em ’cause :) :-( :D =) "
    "(: 8) 8-) o.O ^_^ (^_^) ಠ_ಠ <3 </3 >:o :() C++ and/or w/o co. Co. a. z. ä. http://a.com/b?c=d. www.x.org, x@y.com mailto:a@b.co "
    "192.168.0.1 8.8.8.8 8.8.8.8:80/x a.b.c a...b x-ray ice-cream 1-2 1--2 3+4 a+b a=b a:b a,b 1,000 1.5 .5 °C. 20°C. 5% %5 §5 "
    "US$5 5US$ é naïve Übung. ПРИВЕТ. мир. 你好。 世界 こんにちは。 한국어 مرحبا؟ नमस्ते। \u200b \ufeff \u00ad K use cooKies [1] [edit] "
    "[citation needed] javascript lorem ipsum privacy policy terms of use <space> ~ a~b — a—b ……  …… 🙂 ☺ © ² m² 5m² km/h"
).split(" ")
GAPS = [" "] * 30 + ["  ", "\n", "\n\n", "\n\n\n", "\t", " \n", "\n ", "\r\n", "\r", "\u00a0", "\u3000", "\u2028", "\x0b", "\x1c", "\x85", "", ""]


def pieces(text):
    """Cuts a long text at paragraphs, so that documents have the size of pages."""
    size = 0
    part = []
    for paragraph in re.split(r"(?<=\n\n)", text):
        if size + len(paragraph) > MAX_CHARACTERS and part:
            yield "".join(part)
            part, size = [], 0
        part.append(paragraph[:MAX_CHARACTERS])
        size += len(paragraph)
    if part:
        yield "".join(part)


def texts_of(path):
    text = path.read_bytes().decode("utf-8", "replace")
    if path.suffix in (".html", ".htm"):
        text = html.unescape(re.sub(r"<[^>]*>", "", text))
    return pieces(text)


def hard(rng):
    text = "".join(piece + rng.choice(GAPS) for piece in rng.choices(PIECES, k=rng.randint(1, 400)))
    kind = rng.randrange(6)
    if kind == 0:
        text = "\n".join([text[:80]] * rng.randint(1, 5)) + text
    elif kind == 1:
        text = "".join(rng.choices([chr(rng.choice([rng.randrange(32, 127), rng.randrange(128, 0x3000), rng.randrange(0x3000, 0xD7FF), rng.randrange(0x1F000, 0x1FA00)])) for _ in range(60)], k=rng.randint(1, 900)))
    elif kind == 2:
        words = rng.choices("the cat sat on a mat and that was to be with it".split(), k=rng.randint(60, 300))
        text = " ".join(words) + ".\n" + text
    elif kind == 3:
        ends = rng.choices(". ! ? \" ' ... , 。".split(), k=12)
        text = "\n".join(" ".join(rng.choices(PIECES, k=rng.randint(1, 30))) + end for end in ends)
    return text


def main():
    out, hard_texts, *sources = sys.argv[1:]
    rng = random.Random(17)
    documents = ["", " ", "\n", "a", ".", "\n\n\n", "one line.", "x" * 3000]
    documents += [hard(rng) for _ in range(int(hard_texts))]
    for source in map(Path, sources):
        files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
        for file in files:
            documents += texts_of(file)
    with open(out, "w", encoding="utf-8") as file:
        for document in documents:
            document = document.encode("utf-8", "replace").decode("utf-8")
            file.write(json.dumps({"text": document}, ensure_ascii=False) + "\n")
    print(f"{len(documents)} documents, {sum(map(len, documents))} characters")


if __name__ == "__main__":
    main()
