"""Writes crates/data/assets/{characters,english_words}.txt: the classes of characters and the special words by which
datatrove's filters and spaCy's English tokenizer work, so that our decisions equal theirs.

    bench/peers/datatrove/run.sh        # makes the environment
    target/peers/datatrove/environment/bin/python tools/goldens/make_word_tables.py
"""
import re
import sys
import unicodedata
from pathlib import Path

import spacy
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION
from spacy.lang import char_classes, punctuation
from spacy.pipeline import Sentencizer
from spacy.symbols import ORTH

ASSETS = Path(__file__).resolve().parents[2] / "crates/data/assets"
CHARACTERS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def matching(expression):
    """Characters that the expression matches alone."""
    full = re.compile(expression).fullmatch
    return {character for character in CHARACTERS if full(character)}


def affixes(rules):
    """Characters that one of the rules takes whatever stands beside them."""
    return set().union(*(matching(rule) for rule in rules if rule.strip() and "(?" not in rule))


def classes():
    group = "[{}]".format
    quotes = char_classes.CONCAT_QUOTES
    lower, upper = char_classes.ALPHA_LOWER, char_classes.ALPHA_UPPER
    before_period = next(rule for rule in punctuation.TOKENIZER_SUFFIXES if r"%²" in rule)
    return {
        "space": {c for c in CHARACTERS if c.isspace()},
        "letter": {c for c in CHARACTERS if c.isalpha()},
        "digit": matching(r"\d"),
        "punctuation": {c for c in CHARACTERS if unicodedata.category(c).startswith("P")},
        "symbol": PUNCTUATION_SET,
        "terminal": TERMINAL_PUNCTUATION,
        "sentence_end": set(Sentencizer.default_punct_chars),
        "alpha": matching(group(char_classes.ALPHA)),
        "lower": matching(group(lower)),
        "upper": matching(group(upper)),
        "icon": matching(group(char_classes.ICONS)),
        "prefix": affixes(punctuation.TOKENIZER_PREFIXES),
        "suffix": affixes(punctuation.TOKENIZER_SUFFIXES),
        "before_period": matching(before_period.removeprefix("(?<=").removesuffix(r")\.")),
        "left_of_period": matching(group(lower + quotes)),
        "right_of_period": matching(group(upper + quotes)),
    }


def ranges(characters):
    codes = sorted(map(ord, characters))
    starts = [code for code in codes if code == 0 or chr(code - 1) not in characters] if codes else []
    for start in starts:
        end = start
        while chr(end + 1) in characters:
            end += 1
        yield f"{start:x}" if start == end else f"{start:x}-{end:x}"


def main():
    lines = [" ".join([name, *ranges(characters)]) for name, characters in classes().items()]
    (ASSETS / "characters.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rules = spacy.blank("en").tokenizer.rules
    words = [" ".join(piece[ORTH] for piece in rules[word]) for word in sorted(rules) if not word.isspace()]
    (ASSETS / "english_words.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    print("units and currencies:", char_classes._units, char_classes._currency)


main()
