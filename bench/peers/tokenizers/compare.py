"""Compares our tokenizers with Hugging Face tokenizers, transformers and rustbpe; see run.sh.

    compare.py texts FOLDER TEXTS.json [TEMPLATES]
                                           gathers the texts: the files of FOLDER, and strings that break tokenizers; and chat
                                           templates: those of guidance, and *.jinja and tokenizer_config.json below TEMPLATES
    compare.py compare CORPUS OUT          compares what the example peer_dump left in OUT; exit 1 on a difference
"""

import json
import os
import pathlib
import random
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

GPT4_PATTERN = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""


def gather(folder, out, templates=None):
    texts = [
        "", " ", "\n", "\0", "a\0b\0\0", "  two  spaces  ", "\r\n\r\n \n\t ", "\t\tx\n\n\n  y", "don't DON'T I'LL 'tis ''ſ'S",
        "123456789 3.14159 ²½Ⅷ ٣٤٥٦", "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽", "漢字かな交じり文、한국어", "e\u0301 é \u200d\ufeff\u202e", "\ufffd\U0010ffff\ue000",
        "<|endoftext|>", "a<|end|>b<|user|>", "<|end", "<|<|end|>", "\xa0\u3000x\u2028y\x85z", "ǅ ʰ ª º", "a" * 100_000,
        " " * 5000 + "x", "1" * 1000, "\n \n" * 500, "".join(map(chr, range(0x3000))),
    ]
    generator = random.Random(0)
    alphabet = list(" \n\t\r'saAeE1٣.!<|>é漢\u0301\u200d👍\xa0\u3000\u2028\x00ſ")
    texts += ["".join(generator.choices(alphabet, k=generator.randrange(1, 120))) for _ in range(3000)]
    # Every block length around the splitter's 64-byte words.
    texts += ["x" * n + tail for n in range(56, 72) for tail in (" y", "\n\ny", "  y", "'s", "1234", "é é", "\r\n ")]
    folder = pathlib.Path(folder)
    files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    texts += [path.read_text(encoding="utf-8") for path in files]
    json.dump(texts, open(out, "w"))
    print(f"{len(texts)} texts, {len(files)} of them files")
    templates = {**templates_of_guidance(), **(templates_below(pathlib.Path(templates)) if templates else {})}
    json.dump({"templates": templates, "conversations": CONVERSATIONS}, open(pathlib.Path(out).parent / "templates.json", "w"))


def said(*turns):
    return [{"role": role, "content": content} for role, content in turns]


CONVERSATIONS = [
    said(("user", " hi <b>&\"'  "), ("assistant", "yes\n"), ("user", "漢")),
    said(("system", "Be  brief.\n"), ("user", "x")),
    said(("user", "a"), ("assistant", "<think>\nhm\n</think>\n\nok"), ("user", "b")),
    said(("system", "S"), ("user", "a"), ("assistant", "  first\n"), ("user", "é {x} {{ y }} \\"), ("assistant", "second")),
    said(("assistant", "first"), ("user", "a"), ("user", "b")),
    said(("developer", "D"), ("user", "")),
]


def templates_of_guidance():
    """The chat templates of published models that the guidance package holds as strings."""
    import ast
    import importlib.util

    # Found, not imported: only this one file of the package is needed.
    path = pathlib.Path(importlib.util.find_spec("guidance").origin).parent / "chat.py"
    assigned = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assign)]
    strings = [(node.targets[0].id, node.value.value) for node in assigned if isinstance(node.value, ast.Constant)]
    return {name: text for name, text in strings if isinstance(text, str) and "{%" in text}


def templates_below(folder):
    """By their paths: files of Jinja, and what configurations of tokenizers hold."""
    found = {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.jinja"))}
    for path in sorted(folder.rglob("tokenizer_config.json")):
        template = json.loads(path.read_text()).get("chat_template")
        if isinstance(template, str):
            found[str(path.relative_to(folder))] = template
    return found


def compare_templates(file, ours, check):
    """Ours against jinja2 as transformers sets it up; a refusal (raise_exception) must be one on both sides. A template that
    transformers cannot render without tools, for another reason than its own, is named and not compared."""
    from jinja2.exceptions import TemplateError
    from transformers.utils.chat_template_utils import _compile_jinja_template

    names = {"bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None}
    equal = 0
    for name, source in file["templates"].items():
        asked = [(messages, prompt) for messages in file["conversations"] for prompt in (False, True)]
        for (messages, prompt), found in zip(asked, ours[name], strict=True):
            try:
                expected = _compile_jinja_template(source).render(messages=messages, add_generation_prompt=prompt, **names)
            except TemplateError:
                expected = None
            except Exception as error:
                print(f"not compared: {name}: {error}")
                break
            check(name, f"rendering of {str(messages)[:60]}", found, expected)
            equal += found == expected
    print(f"{len(ours)} published chat templates, {equal} equal renderings")


def compare_rows(name, peer, texts, rows, check):
    """Truncation and padding at both ends, and offsets: ours are bytes, the peer's whole characters."""

    def characters(text, start, end):
        data = text.encode()
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end += 1
        return [len(data[:start].decode(errors="ignore")), len(data[:end].decode())] if start < end else [0, 0]

    peer.encode_special_tokens = True
    for row in rows:
        peer.enable_truncation(min(row["longest"], 1 << 40), direction=row["side"])
        peer.enable_padding(direction=row["side"], pad_id=row["padding"], pad_to_multiple_of=row["multiple"])
        found = peer.encode_batch(texts[: len(row["ids"])], add_special_tokens=False)
        what = f"rows, {row['side']}, at most {row['longest']}, multiple of {row['multiple']}"
        check(name, what, row["ids"], [encoding.ids for encoding in found])
        check(name, f"mask of {what}", row["masks"], [encoding.attention_mask for encoding in found])
        for text, places, encoding in zip(texts, row["offsets"], found):
            kept = [list(place) for place, is_text in zip(encoding.offsets, encoding.attention_mask) if is_text]
            check(name, f"offsets of {text[:40]!r} in {what}", [characters(text, *place) for place in places], kept)
    peer.no_truncation()
    peer.no_padding()


def compare(corpus_path, out):
    import tokenizers
    import transformers

    corpus = open(corpus_path, encoding="utf-8", newline="").read()
    out = pathlib.Path(out)
    texts = json.load(open(out / "texts.json"))
    ours = json.load(open(out / "ours.json"))
    failures = 0

    def check(name, what, found, expected):
        nonlocal failures
        if found != expected:
            failures += 1
            print(f"DIFFERENT {name}: {what}\n  ours  {str(found)[:300]}\n  peer  {str(expected)[:300]}")

    compare_templates(json.load(open(out / "templates.json")), ours.pop("templates"), check)
    print(f"tokenizers {tokenizers.__version__}, transformers {transformers.__version__}, corpus {len(corpus.encode()) / 1e6:.2f} MB")
    print(f"{'tokenizer':12} {'texts':>6} {'encode MB/s: ours':>18} {'HF, Python':>10} {'ratio':>6}")
    for name, ours_of in ours.items():
        peer = tokenizers.Tokenizer.from_file(str(out / name / "tokenizer.json"))
        check(name, "vocabulary size", ours_of["vocabulary_size"], peer.get_vocab_size())
        for text, ids, special_ids, decoded in zip(texts, ours_of["ids"], ours_of["special_ids"], ours_of["decoded"]):
            peer.encode_special_tokens = True
            found = peer.encode(text, add_special_tokens=False).ids
            check(name, f"ids of {text[:60]!r}", ids, found)
            check(name, f"decoded {text[:60]!r}", decoded, peer.decode(found))
            peer.encode_special_tokens = False
            check(name, f"ids with control of {text[:60]!r}", special_ids, peer.encode(text, add_special_tokens=False).ids)
        compare_rows(name, peer, texts, ours_of["rows"], check)
        check(name, "prefix", ours_of["prefix"] + ours_of["ids"][5], peer.encode(texts[5]).ids)
        model = transformers.AutoTokenizer.from_pretrained(out / name)
        chat = model.apply_chat_template(ours_of["messages"], tokenize=False, add_generation_prompt=True)
        check(name, "chat text", ours_of["chat_text"], chat)
        check(name, "chat ids", ours_of["chat_ids"], model(chat, add_special_tokens=False)["input_ids"])
        check(name, "eos", "<|end|>", model.eos_token)
        check(name, "transformers decodes", model.decode(ours_of["ids"][11], skip_special_tokens=True), ours_of["decoded"][11])
        started = time.perf_counter()
        peer.encode(corpus, add_special_tokens=False)
        theirs = len(corpus.encode()) / 1e6 / (time.perf_counter() - started)
        speed = ours_of["encode_megabytes_per_second"]
        print(f"{name:12} {len(texts):6} {speed:18.1f} {theirs:10.1f} {speed / theirs:6.1f}")
    compare_training(corpus, out, ours, check)
    print("all equal" if failures == 0 else f"{failures} differences")
    return failures


def compare_training(corpus, out, ours, check):
    import rustbpe
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers, Regex

    print(f"{'training':12} {'seconds: ours':>14} {'rustbpe':>8} {'HF 0.23':>8}")
    for name, size in (("gpt4-512", 512), ("gpt4-8192", 8192)):
        tokens = size - 5
        started = time.perf_counter()
        peer = rustbpe.Tokenizer()
        peer.train_from_iterator([corpus], tokens, pattern=GPT4_PATTERN)
        rustbpe_seconds = time.perf_counter() - started
        theirs = [bytes(token) for token, _ in sorted(peer.get_mergeable_ranks(), key=lambda entry: entry[1])]
        to_byte = {char: byte for byte, char in bytes_to_unicode().items()}
        vocabulary = json.load(open(out / name / "tokenizer.json"))["model"]["vocab"]
        mine = [bytes(to_byte[char] for char in token) for token, _ in sorted(vocabulary.items(), key=lambda entry: entry[1])]
        check(name, "learned tokens, in order, against rustbpe", mine, theirs)
        started = time.perf_counter()
        hf = Tokenizer(models.BPE())
        hf.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(GPT4_PATTERN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        trainer = trainers.BpeTrainer(vocab_size=tokens, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
        hf.train_from_iterator([corpus], trainer)
        hf_seconds = time.perf_counter() - started
        print(f"{name:12} {ours[name]['train_seconds']:14.3f} {rustbpe_seconds:8.3f} {hf_seconds:8.3f}")


def bytes_to_unicode():
    """GPT-2's table, from its definition."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in printable]
    return {**{byte: chr(byte) for byte in printable}, **{byte: chr(256 + n) for n, byte in enumerate(moved)}}


if __name__ == "__main__":
    if sys.argv[1] == "texts":
        gather(*sys.argv[2:])
    else:
        sys.exit(1 if compare(sys.argv[2], sys.argv[3]) else 0)
