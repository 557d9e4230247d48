#!/usr/bin/env python3
"""Tiny random encoders, and what `transformers` computes from them: the goldens of encoders, embeddings and cross-encoders.

Run `tools/goldens/environment` once, then

    .venv-peers/bin/python tools/goldens/make_encoder_goldens.py

Each folder under crates/models/fixtures/encoders/ gets a Hugging Face model folder with a small WordPiece vocabulary and,
for models of embeddings, the files of sentence-transformers that say how hidden states are pooled; and
  golden.safetensors   `ids_N`, `types_N` (int64), `hidden_N` (float32, [tokens, width]): random ids of the longest text and of a short one;
                       with a classifier `scores_N` (float32, [labels])
  golden.json          versions; texts with their ids and embeddings, or pairs of texts with their ids, types, logit and score
  README.md            where the files come from

Texts are computed in one padded batch, as everybody does. Pooling is written out here as the paper of Sentence-BERT
(Reimers and Gurevych 2019) has it: the mean over the tokens, or the first one.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import shutil

import safetensors.torch
import tokenizers
import torch
import transformers
from make_model_goldens import FILE_BYTES_MAX, ROOT, randomize, versions

WORDS = ["the", "cat", "dog", "sits", "run", "play", "paris", "is", "a", "city", "of", "music", "out", "side"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEXTS = ["The cat sits outside.", "A dog!", "Paris is a city of music", "playing", "日本 café, 12"]
PAIRS = [("Is Paris a city?", "Paris is the city of music."), ("a dog", "the cat sits"), ("play", "of")]


@dataclasses.dataclass
class Fixture:
    """One encoder: its configuration, its special tokens in the order begin, end, and how it is used."""

    name: str
    about: str
    config: transformers.PretrainedConfig
    specials: list[str]
    pooling: str = ""
    normalize: bool = False
    activation: str = ""


SIZES = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
}
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# RoBERTa's order: begin 0, padding 1, end 2.
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
VOCABULARY = len(BERT) + 2 * len(LETTERS) + len(WORDS) + 4
IDENTITY, SIGMOID = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"


def bert(**more) -> transformers.BertConfig:
    return transformers.BertConfig(vocab_size=VOCABULARY, max_position_embeddings=32, **SIZES, **more)


def roberta(kind: type, **more) -> transformers.PretrainedConfig:
    sizes = SIZES | {"hidden_act": "gelu_new", "type_vocab_size": 1}
    return kind(vocab_size=VOCABULARY, max_position_embeddings=34, pad_token_id=1, **sizes, **more)


FIXTURES = [
    Fixture("bert", "BERT, 2 layers: the mean of all tokens, of length one", bert(), BERT, pooling="mean", normalize=True),
    Fixture("roberta", "RoBERTa, 2 layers, GELU by tanh: the first token", roberta(transformers.RobertaConfig), ROBERTA, pooling="cls"),
    Fixture("bert-cross-encoder", "BERT with a classifier of one score, sigmoid", bert(num_labels=1), BERT, activation=SIGMOID),
    Fixture("xlm-roberta-cross-encoder", "XLM-RoBERTa with a classifier of one score, as it is",
            roberta(transformers.XLMRobertaConfig, num_labels=1), ROBERTA, activation=IDENTITY),
]  # fmt: skip


def word_piece(fixture: Fixture) -> transformers.PreTrainedTokenizerFast:
    """A lower-casing WordPiece of letters and a few words, with BERT's or RoBERTa's frame."""
    is_bert = fixture.specials is BERT
    pieces = [*fixture.specials, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS, "##ing", ".", ",", "?"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    begin, end, unknown, padding = ("[CLS]", "[SEP]", "[UNK]", "[PAD]") if is_bert else ("<s>", "</s>", "<unk>", "<pad>")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    pair = f"{begin} $A {end} $B:1 {end}:1" if is_bert else f"{begin} $A {end} {end} $B {end}"
    frame = [(token, vocabulary[token]) for token in (begin, end)]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single=f"{begin} $A {end}", pair=pair, special_tokens=frame)
    inputs = ["input_ids", "token_type_ids", "attention_mask"] if is_bert else ["input_ids", "attention_mask"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token=begin, sep_token=end, unk_token=unknown, pad_token=padding, model_input_names=inputs
    )


def write_sentence_transformers(fixture: Fixture, folder: pathlib.Path) -> None:
    parts = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling")] + [("2", "2_Normalize", "Normalize")] * fixture.normalize
    modules = [
        {"idx": int(name), "name": name, "path": path, "type": f"sentence_transformers.models.{kind}"} for name, path, kind in parts
    ]
    pooling = {
        "word_embedding_dimension": SIZES["hidden_size"],
        "pooling_mode_cls_token": fixture.pooling == "cls",
        "pooling_mode_mean_tokens": fixture.pooling == "mean",
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    prompts = {"prompts": {"query": "the dog is: ", "document": ""}, "default_prompt_name": None}
    files = {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": 24, "do_lower_case": False},
        "config_sentence_transformers.json": prompts,
    }
    (folder / "1_Pooling").mkdir()
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


def pooled(fixture: Fixture, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if fixture.pooling == "mean":
        mask = mask.unsqueeze(-1).float()
        vectors = (hidden * mask).sum(1) / mask.sum(1)
    else:
        vectors = hidden[:, 0]
    return torch.nn.functional.normalize(vectors) if fixture.normalize else vectors


def text_golden(fixture: Fixture, model: torch.nn.Module, tokenizer) -> dict:
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    vectors = pooled(fixture, model(**batch).last_hidden_state, batch["attention_mask"])
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    return {"texts": [{"text": text, "ids": row, "embedding": vector.tolist()} for text, row, vector in zip(TEXTS, ids, vectors)]}


def pair_golden(fixture: Fixture, model: torch.nn.Module, tokenizer) -> dict:
    batch = tokenizer(PAIRS, padding=True, return_tensors="pt")
    logits = model(**batch).logits[:, 0]
    scores = torch.sigmoid(logits) if fixture.activation == SIGMOID else logits
    pairs = []
    for (query, passage), logit, score in zip(PAIRS, logits, scores):
        encoded = tokenizer(query, passage)
        types = encoded.get("token_type_ids", [0] * len(encoded["input_ids"]))
        pair = {"query": query, "passage": passage, "ids": encoded["input_ids"], "types": types}
        pairs.append(pair | {"logit": logit.item(), "score": score.item()})
    return {"pairs": pairs}


def id_goldens(fixture: Fixture, model: torch.nn.Module, seed: int) -> dict:
    """Hidden states of random ids: of a short text, and of the longest there may be."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for i, length in enumerate((7, 32)):
        ids = torch.randint(len(BERT), VOCABULARY, (1, length), generator=generator)
        types = torch.randint(fixture.config.type_vocab_size, (1, length), generator=generator)
        output = model(input_ids=ids, token_type_ids=types, output_hidden_states=True)
        tensors |= {f"ids_{i}": ids[0], f"types_{i}": types[0], f"hidden_{i}": output.hidden_states[-1][0].contiguous()}
        if fixture.activation:
            tensors[f"scores_{i}"] = output.logits[0].contiguous()
    return tensors


def write_readme(fixture: Fixture, folder: pathlib.Path) -> None:
    origin = " and ".join(f"{name} {version}" for name, version in versions().items())
    (folder / "README.md").write_text(f"""# {fixture.name}

{fixture.about}.

Origin: random weights made by `tools/goldens/make_encoder_goldens.py` with {origin}; no outside data. Licence: that of this
repository. `golden.safetensors` and `golden.json` hold what `transformers` computes from them in float32; the script says how.

Files: {", ".join(f"`{path.relative_to(folder)}`" for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "README.md")}.
""")


def make(fixture: Fixture, seed: int, out: pathlib.Path) -> None:
    folder = out / fixture.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    auto = transformers.AutoModelForSequenceClassification if fixture.activation else transformers.AutoModel
    if fixture.activation:
        fixture.config.sentence_transformers = {"activation_fn": fixture.activation, "version": "5.0.0"}
    model = auto.from_config(fixture.config, dtype=torch.float32, attn_implementation="eager").eval()
    randomize(model, torch.bfloat16, seed)
    model.to(torch.bfloat16).save_pretrained(folder)
    model = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True).eval()
    tokenizer = word_piece(fixture)
    tokenizer.save_pretrained(folder)
    if fixture.pooling:
        write_sentence_transformers(fixture, folder)
    with torch.no_grad():
        safetensors.torch.save_file(id_goldens(fixture, model, seed), folder / "golden.safetensors")
        golden = (pair_golden if fixture.activation else text_golden)(fixture, model, tokenizer)
    golden = {"made_by": "tools/goldens/make_encoder_goldens.py", "versions": versions(), **golden}
    text = re.sub(r"\[[^][{}]*\]", lambda match: " ".join(match[0].split()), json.dumps(golden, ensure_ascii=False, indent=1))
    (folder / "golden.json").write_text(text + "\n")
    write_readme(fixture, folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        assert path.stat().st_size <= FILE_BYTES_MAX, f"{path}: {path.stat().st_size} bytes"
    print(f"{fixture.name}: {sum(path.stat().st_size for path in files):,} bytes in {len(files)} files, {fixture.about}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "crates/models/fixtures/encoders")
    parser.add_argument("names", nargs="*", help="of the fixtures to make; all when none is given")
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    for seed, fixture in enumerate(FIXTURES):
        if not arguments.names or fixture.name in arguments.names:
            make(fixture, seed, arguments.out)


if __name__ == "__main__":
    main()
