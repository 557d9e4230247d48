"""Makes small tokenizers with the libraries that define their formats, and what these make of texts.

    python3 -m venv target/goldens && target/goldens/bin/pip install tokenizers==0.23.3 sentencepiece==0.2.3
    target/goldens/bin/python tools/goldens/make_tokenizer_goldens.py crates/tokenizer/fixtures

Writes `*.json` (Hugging Face tokenizers), `*.model` (SentencePiece) and `goldens/NAME.json` with the ids of each text.
"""

import json
import pathlib
import random
import sys
import tempfile

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "First Citizen: Before we proceed any further, hear me speak. All: Speak, speak.",
    "The déjà vu café naïve über Straße ½ ² 2024 1999 3.14159, don't you'll we've I'm he'd they're.",
    "漢字かな交じり文。東京は日本の首都です。 한국어 텍스트. привет мир, как дела? مرحبا بالعالم नमस्ते दुनिया",
    "def f(x):\n    return x ** 2  # comment\n\tif a != b: print('tab')",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🙂 hello hello world world the the the speak speak",
] * 3


def texts():
    fixed = [
        "", " ", "   ", "\n", "\t", "a", " a", "a ", "  two  spaces  ", "\r\n\r\n \n\t ", "\t\tx\n\n\n  y", "a\0b", "don't DON'T I'LL 'tis ''ſ'S",
        "123456789 3.14159 ²½Ⅷ ٣٤٥٦", "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽", "漢字かな交じり文、한국어", "e\u0301 é \u200d\ufeff\u202e", "\ufffd\U0010fffd\ue000", "\xa0\u3000x\u2028y\x85z",
        "<s>hello</s> <unk><pad>", "[CLS] speak [SEP] [UNK][MASK]", "<sep>speak<sep>x <sep> y<cls>", "<0x41><0x0A>", "▁ ▁▁a ▁speak", "ﬁ ① ㍿ Å ｶﾞ ǅ",
        "Hello, world! 12345  naïve café 東京 🙂\n\tfoo_bar()", "speakspeak the", "ab" * 60 + " c", "    return x", "The Citizen's hEllo", "a\u0308\u0323b ạ̈",
    ]
    generator = random.Random(0)
    alphabet = list(" \n\tspeakthe'S1٣.!<|>é漢\u0301\u200d👍\xa0\u3000▁_") + ["speak", " the", "<sep>", "hello ", "2024", "  "]
    return fixed + ["".join(generator.choices(alphabet, k=generator.randrange(1, 30))) for _ in range(60)]


def byte_level(prefix_space):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return tokenizer, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=["<s>", "</s>", "<pad>"], show_progress=False)


def patterns():
    """Patterns that no encoder has a splitter of its own for: BLOOM's, and three digits."""
    tokenizer, trainer = byte_level(False)
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in (r" ?[^(\s|.,!?…。，、।۔،)]+", "[0-9][0-9][0-9]")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return tokenizer, trainer


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer, trainers.WordPieceTrainer(vocab_size=350, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False)


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(Regex(" {2,}"), " "), normalizers.NFKC()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer, trainers.UnigramTrainer(vocab_size=300, special_tokens=["<s>", "</s>", "<unk>", "<pad>"], unk_token="<unk>", show_progress=False)


def word_level():
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)])
    return tokenizer, trainers.WordLevelTrainer(vocab_size=100, special_tokens=["[UNK]", "[CLS]"], show_progress=False)


def fallback():
    """As Llama 2 is in Hugging Face's form: no words, byte tokens."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return tokenizer, trainers.BpeTrainer(vocab_size=160, special_tokens=["<unk>", "<s>", "</s>"], limit_alphabet=40, show_progress=False)


def with_byte_tokens(tokenizer):
    model = json.loads(tokenizer.to_str())["model"]
    tokens = [token for token, _ in sorted(model["vocab"].items(), key=lambda entry: entry[1])]
    tokens[3:3] = [f"<0x{byte:02X}>" for byte in range(256)]
    merges = [tuple(merge) for merge in model["merges"]]
    vocab = {token: place for place, token in enumerate(tokens)}
    tokenizer.model = models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)


HUGGING_FACE = {
    "byte_level": lambda: byte_level(False),
    "byte_level_prefix_space": lambda: byte_level(True),
    "patterns": patterns,
    "word_piece": word_piece,
    "unigram": unigram,
    "word_level": word_level,
    "byte_fallback": fallback,
}


def make_hugging_face(name, out):
    tokenizer, trainer = HUGGING_FACE[name]()
    tokenizer.train_from_iterator(CORPUS, trainer)
    if name == "byte_fallback":
        with_byte_tokens(tokenizer)
    if name == "word_piece":
        ids = [("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))]
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids)
    tokenizer.add_tokens(["<sep>"])
    tokenizer.save(str(out / f"{name}.json"), pretty=False)

    def encode(text, control):
        tokenizer.encode_special_tokens = not control
        return tokenizer.encode(text, add_special_tokens=False).ids

    frame = tokenizer.encode("").ids
    # Unigram matches control tokens in plain text; we do not, so these texts have no ids here.
    plain = [None if name == "unigram" and any(s in text for s in ("<s>", "</s>", "<unk>", "<pad>")) else encode(text, False) for text in texts()]
    decoded = [None if ids is None else tokenizer.decode(ids) for ids in plain]
    return {"frame": frame, "ids": plain, "ids_with_control": [encode(text, True) for text in texts()], "decoded": decoded}


SENTENCE_PIECE = {
    "spm_bpe": dict(model_type="bpe", vocab_size=480, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
                    user_defined_symbols=["<sep>", "  "], control_symbols=["<cls>"], split_digits=True, character_coverage=0.98),
    "spm_unigram": dict(model_type="unigram", vocab_size=220, user_defined_symbols=["<sep>"], control_symbols=["<cls>"], character_coverage=0.98),
    "spm_unigram_bytes": dict(model_type="unigram", vocab_size=440, byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=False,
                              treat_whitespace_as_suffix=True, bos_id=-1, eos_id=1, unk_id=2, pad_id=0),
}

# A small table of rules in place of the 240 kB of the default ones: the same format.
RULES = [("A", "a"), ("e\u0301", "é"), ("ﬁ", "fi"), ("①", "1"), ("\u3000", " "), ("\xa0", " "), ("\t", " "), ("\n", " "), ("ｶﾞ", "ガ"), ("\u200d", ""), ("㍿", "株式 会社")]


def make_sentence_piece(name, out):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "corpus.txt").write_text("\n".join(line.replace("\n", " ") for line in CORPUS), encoding="utf-8")
        rules = [(" ".join(f"{ord(c):X}" for c in key), " ".join(f"{ord(c):X}" for c in value)) for key, value in RULES]
        (folder / "rules.tsv").write_text("".join(f"{key}\t{value}\n" for key, value in rules))
        options = dict(SENTENCE_PIECE[name])
        if "normalization_rule_name" not in options:
            options["normalization_rule_tsv"] = str(folder / "rules.tsv")
        sentencepiece.SentencePieceTrainer.train(input=str(folder / "corpus.txt"), model_prefix=str(folder / "m"), minloglevel=2, num_threads=1, **{"hard_vocab_limit": options["model_type"] == "bpe", **options})
        model = (folder / "m.model").read_bytes()
    (out / f"{name}.model").write_bytes(model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = [processor.encode(text) for text in texts()]
    return {"ids": ids, "decoded": [processor.decode(line) for line in ids]}


def main(out):
    (out / "goldens").mkdir(parents=True, exist_ok=True)
    golden = {"texts": texts()}
    for name in HUGGING_FACE:
        golden[name] = make_hugging_face(name, out)
    for name in SENTENCE_PIECE:
        golden[name] = make_sentence_piece(name, out)
    for name, value in golden.items():
        (out / "goldens" / f"{name}.json").write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
