"""Writes crates/data/fixtures/cleaning/: what spaCy and datatrove make of texts.

    bench/peers/datatrove/run.sh        # makes the environment
    target/peers/datatrove/environment/bin/python tools/goldens/make_cleaning_goldens.py
"""
import json
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "crates/data/fixtures/cleaning"
sys.path.insert(0, str(ROOT / "bench/peers/datatrove"))
from compare import judge, split_into_words  # noqa: E402
from corpus import PIECES, hard  # noqa: E402

def write(name, value):
    text = json.dumps(value, ensure_ascii=False, indent=0, separators=(",", ":"))
    (FIXTURES / name).write_text(text + "\n", encoding="utf-8")


def words():
    rng = random.Random(3)
    texts = [" ".join(rng.sample(PIECES, 30)) for _ in range(30)]
    texts += ["".join(rng.sample(PIECES, 3)) for _ in range(200)] + [hard(rng)[:200] for _ in range(45)]
    write("words.json", [[text, split_into_words(text)] for text in texts])


def verdicts():
    rng = random.Random(5)
    prose = (ROOT / "data/tinyshakespeare/input.txt").read_text().replace("\n\n", "\a").replace("\n", " ").replace("\a", "\n\n")
    found = {}
    for number in range(4000):
        start = rng.randrange(len(prose) - 3000)
        text = hard(rng)[:700] if number % 2 else prose[start : start + rng.choice([60, 300, 900])]
        if number % 3 == 0:
            text = "\n".join([text] * rng.randint(2, 4))
        if number < 2:
            text = ["", "internationalization " * 60][number]
        if number % 16 == 2:
            text = " ".join(rng.choices(text.split() or ["a"], k=60)) + ("\n# ... " * rng.randint(0, 20))
        if number % 16 == 4:
            text = "\n".join("- " + line for line in text.split(" ")) + "..."
        judged = judge(text)
        for key in judged.items():
            # At most two texts for each verdict, the shortest ones: every rule is there, and the file is small.
            if key[0] != "c4_text":
                found.setdefault(key, []).append((text, judged))
    chosen = {}
    for key in sorted(found, key=str):
        for text, judged in sorted(found[key], key=lambda pair: len(pair[0]))[:2]:
            chosen[text] = judged
    print(len(found), "verdicts in", len(chosen), "texts:", sorted(map(str, found)))
    write("verdicts.json", [[text, judged] for text, judged in chosen.items()])


FIXTURES.mkdir(parents=True, exist_ok=True)
words()
verdicts()
