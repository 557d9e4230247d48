"""Writes crates/data/fixtures/cleaning/{*.bin,*.ftz,predictions.json}: small classifiers by fastText and what they say.

    python3 -m venv .venv-peers-fasttext
    .venv-peers-fasttext/bin/pip install fasttext-wheel==0.9.2 numpy==1.26.4     # with a newer numpy its training fails
    .venv-peers-fasttext/bin/python tools/goldens/make_fasttext_goldens.py
"""
import json
import random
from pathlib import Path

import fasttext

FIXTURES = Path(__file__).resolve().parents[2] / "crates/data/fixtures/cleaning"

SENTENCES = {
    "en": "the cat sat on the mat and looked at a bird . it was the best of times ; we went home late",
    "de": "die Katze saß auf der Matte und sah einen Vogel . es war die beste Zeit ; wir gingen spät nach Hause",
    "fr": "le chat était sur le tapis et regardait un oiseau . c'était le meilleur des temps ; nous sommes rentrés tard",
    "ru": "кошка сидела на коврике и смотрела на птицу . это было лучшее время ; мы поздно вернулись домой",
}


def models():
    rng = random.Random(7)
    training = FIXTURES / "training.txt"
    lines = []
    for number in range(600):
        language = ["en", "de", "fr", "ru"][(number % 10) // 3]
        picked = rng.choices(SENTENCES[language].split(), k=6)
        lines.append(f"__label__{language} {' '.join(picked)} {rng.randrange(400)}")
    training.write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = dict(input=str(training), dim=5, epoch=20, lr=0.1, thread=1, seed=1, verbose=0)
    made = {
        "softmax.bin": fasttext.train_supervised(**arguments, bucket=64, minn=2, maxn=3, wordNgrams=2, minCount=8),
        "tree.bin": fasttext.train_supervised(**arguments, bucket=64, minn=2, maxn=4, loss="hs", minCount=8),
        "sigmoid.bin": fasttext.train_supervised(**arguments, bucket=0, minn=0, maxn=0, loss="ova", minCount=8),
    }
    quantized = fasttext.train_supervised(**arguments, bucket=400, minn=2, maxn=4, wordNgrams=2, loss="hs")
    quantized.quantize(dsub=2, qnorm=False)
    made["quantized.ftz"] = quantized
    pruned = fasttext.train_supervised(**arguments, bucket=400, minn=2, maxn=4, wordNgrams=3)
    pruned.quantize(input=str(training), dsub=2, qnorm=True, cutoff=300, retrain=False)
    made["pruned.ftz"] = pruned
    texts = [*SENTENCES.values(), "a", "Vogel", "птица", "unknown wörds here", "chat cat Katze кошка", "</s>", "12 12 12"]
    predictions = {}
    for name, model in made.items():
        model.save_model(str(FIXTURES / name))
        reread = fasttext.load_model(str(FIXTURES / name))
        predictions[name] = [[text, dict(sorted((label, round(p, 6)) for p, label in reread.f.predict(text + "\n", -1, -1.0, "strict")))] for text in texts]
    training.unlink()
    text = json.dumps(predictions, ensure_ascii=False, indent=0, separators=(",", ":"))
    (FIXTURES / "predictions.json").write_text(text + "\n", encoding="utf-8")


models()
