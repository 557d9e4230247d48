"""datatrove's MinHash on the documents of a JSONL file, and how its clusters differ from ours.

    minhash.py find IN.jsonl OUT_FOLDER [BUCKETS HASHES]   # datatrove, one thread, timed
    minhash.py compare IN.jsonl THEIRS.jsonl OURS.jsonl
    minhash.py plant IN.jsonl OUT.jsonl          # adds copies with some words changed
"""
import json
import random
import sys
import time
from collections import defaultdict
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)


def read(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def plant(source, target):
    rng = random.Random(3)
    lines = []
    for number, document in enumerate(read(source)):
        lines.append({"id": str(number), "text": document["text"]})
        if number % 4 == 0:
            words = document["text"].split()
            for _ in range(len(words) * rng.choice([0, 0, 1, 2, 4, 8]) // 100):
                words[rng.randrange(len(words))] = rng.choice(words)
            lines.append({"id": f"{number}-copy", "text": " ".join(words)})
    write(target, lines)


def find(source, folder, buckets=14, hashes=8):
    folder = Path(folder)
    documents = [Document(text=line["text"], id=line["id"]) for line in read(source)]
    config = MinhashConfig(num_buckets=int(buckets), hashes_per_bucket=int(hashes))
    MinhashDedupSignature(str(folder / "warm"), config=config).run([Document(text="Warm the tokenizer up.", id="0")])
    begin = time.perf_counter()
    MinhashDedupSignature(str(folder / "signatures"), config=config).run(documents)
    signed = time.perf_counter()
    for bucket in range(config.num_buckets):
        MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=config).run(
            rank=bucket, world_size=config.num_buckets
        )
    MinhashDedupCluster(str(folder / "buckets"), str(folder / "removed"), config=config, save_cluster_id=True).run()
    seconds = time.perf_counter() - begin
    clusters = {}
    keep_all = MinhashDedupFilter(str(folder / "removed"), load_cluster_ids=True)
    keep_all.exclusion_writer = None
    kept = {document.id for document in keep_all.run(documents)}
    for document in documents:
        clusters[document.id] = document.metadata.get("minhash_cluster_id")
    write(folder / "clusters.jsonl", [{"id": name, "cluster": cluster} for name, cluster in clusters.items()])
    print(json.dumps({"documents": len(documents), "kept": len(kept), "seconds": seconds, "signatures": signed - begin}))


def pairs(path):
    members = defaultdict(list)
    for line in read(path):
        if line["cluster"] is not None and line["cluster"] != -1:
            members[line["cluster"]].append(line["id"])
    return {(one, other) for group in members.values() for one in group for other in group if one < other}


def compare(_, theirs, ours):
    theirs, ours = pairs(theirs), pairs(ours)
    both = len(theirs & ours)
    print(json.dumps({"pairs of both": both, "only theirs": len(theirs) - both, "only ours": len(ours) - both}))


if __name__ == "__main__":
    command, *paths = sys.argv[1:]
    {"find": find, "compare": compare, "plant": plant}[command](*paths)
