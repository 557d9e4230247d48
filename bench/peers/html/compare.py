"""The main text of HTML pages, as trafilatura and as we find it: how many words both have, page by page.

    compare.py extract PATHS.txt OUT.jsonl            # trafilatura, timed
    compare.py compare THEIRS.jsonl OURS.jsonl [N]    # word F1, and the N pages that differ most

Neither is the truth: what one has and the other has not is to be looked at.
"""
import json
import re
import statistics
import sys
import time
from collections import Counter

import trafilatura


def extract(paths, out):
    seconds, size = 0.0, 0
    with open(out, "w", encoding="utf-8") as file:
        for path in open(paths, encoding="utf-8").read().splitlines():
            page = open(path, "rb").read().decode("utf-8", "replace")
            begin = time.perf_counter()
            text = trafilatura.extract(page, include_comments=False) or ""
            seconds += time.perf_counter() - begin
            size += len(page.encode())
            file.write(json.dumps({"path": path, "text": text}, ensure_ascii=False) + "\n")
    print(json.dumps({"bytes": size, "seconds": seconds}))


def words(path):
    lines = map(json.loads, open(path, encoding="utf-8"))
    return {line["path"]: Counter(re.findall(r"\w+", line["text"])) for line in lines}


def share(part, whole):
    return part / whole if whole else 1.0


def compare(theirs, ours, shown="0"):
    theirs, ours, rows = words(theirs), words(ours), []
    for path, their in theirs.items():
        our = ours[path]
        both = (their & our).total()
        precision, recall = share(both, our.total()), share(both, their.total())
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        rows.append((f1, precision, recall, their.total(), our.total(), path))
    pages = [row for row in rows if row[3] >= 50]
    print("| pages with | pages | F1, mean | median | of our words theirs | of their words ours |\n|---|--:|--:|--:|--:|--:|")
    for name, part in [("any words", rows), ("50 words or more", pages)]:
        mean = [statistics.mean(row[place] for row in part) for place in (0, 1, 2)]
        median = statistics.median(row[0] for row in part)
        print(f"| {name} | {len(part)} | {mean[0]:.3f} | {median:.3f} | {mean[1]:.3f} | {mean[2]:.3f} |")
    for row in sorted(pages)[: int(shown)]:
        print("F1 {:.2f}, {:.2f} of ours, {:.2f} of theirs; words of theirs {}, ours {}: {}".format(*row))


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"extract": extract, "compare": compare}[command](*arguments)
