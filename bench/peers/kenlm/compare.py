"""One text through KenLM and through us: equality, then seconds and peak memory in turn. `run` calls it."""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path


def run(command, stdin=None, stdout=None):
    """Seconds of wall and of processors, peak MiB."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdin=stdin and open(stdin, "rb"),
                               stdout=open(stdout, "wb") if stdout else subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def in_turn(name, rounds, theirs, ours):
    """Runs both `rounds` times in turn and prints medians."""
    results = {"kenlm": [], "tsumugi": []}
    for _ in range(rounds):
        results["kenlm"].append(run(*theirs))
        results["tsumugi"].append(run(*ours))
    medians = {who: [statistics.median(column) for column in zip(*rows)] for who, rows in results.items()}
    for who, (wall, processor, memory) in medians.items():
        spread = "–".join(f"{f(row[0] for row in results[who]):.2f}" for f in (min, max))
        print(f"{name:>22} {who:>8}: {wall:8.2f} s ({spread}), {processor:8.2f} s of processors, {memory:7.0f} MiB")
    ratios = [theirs[0] / ours[0] for theirs, ours in zip(results["kenlm"], results["tsumugi"])]
    processor = medians["kenlm"][1] / medians["tsumugi"][1]
    print(f"{name:>22} {'ratio':>8}: {statistics.median(ratios):.2f} by the clock, {processor:.2f} by processors")


def compare_arpa(theirs, ours):
    """Line by line: both are in the same order."""
    worst, count = 0.0, 0
    with open(theirs, "rb") as left, open(ours, "rb") as right:
        for number, (a, b) in enumerate(zip(left, right, strict=True), 1):
            if a == b:
                continue
            a, b = a.rstrip(b"\n").split(b"\t"), b.rstrip(b"\n").split(b"\t")
            if len(a) < 2 or a[1:2] != b[1:2] or len(a) != len(b):
                raise SystemExit(f"line {number} differs: {a} and {b}")
            worst = max(worst, *(abs(float(x) - float(y)) for x, y in zip(a[::2], b[::2])))
            count += 1
    print(f"  every n-gram: the same, largest difference of log10 {worst:.2e} ({count} lines differ in the last digits)")


def compare_queries(theirs, ours):
    """Every word's length and score, and the sums of the sentences."""
    worst, words = 0.0, 0
    with open(theirs, "rb") as left, open(ours, "rb") as right:
        for a, b in zip(left, right):
            if a.startswith(b"Perplexity including"):
                break
            for x, y in zip(a.rstrip(b"\n").split(b"\t"), b.rstrip(b"\n").split(b"\t"), strict=True):
                if x.startswith(b"Total:") or b"=" not in x:
                    continue
                (_, length, score), (_, our_length, our_score) = x.rsplit(b" ", 2), y.rsplit(b" ", 2)
                if length != our_length:
                    raise SystemExit(f"another length: {x} and {y}")
                worst, words = max(worst, abs(float(score) - float(our_score))), words + 1
    print(f"  {words} words scored: the same lengths, largest difference of log10 {worst:.2e}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kenlm", type=Path)
    parser.add_argument("tsumugi")
    parser.add_argument("text", type=Path)
    parser.add_argument("--order", required=True)
    parser.add_argument("--memory", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    arguments = parser.parse_args()
    text, order, memory = arguments.text, arguments.order, arguments.memory
    print(f"{text.name}: {text.stat().st_size} bytes, order {order}, memory {memory}")
    lmplz = [arguments.kenlm / "lmplz", "-o", order, "-S", memory, "-T", "./", "--discount_fallback", "--skip_symbols"]
    train = [arguments.tsumugi, "ngram", "train", text, "--order", order, "--memory", memory, "--discount-fallback",
             "--skip-symbols", "--threads", "2"]
    for prune in [["0"], ["0", "0", "1"]]:
        theirs = lmplz + ["--prune", *prune]
        ours = train + ["--prune", *prune]
        in_turn(f"estimate, prune {' '.join(prune)}", arguments.rounds, (theirs, text, "theirs.arpa"),
                (ours + ["--out", "ours.arpa"],))
        compare_arpa("theirs.arpa", "ours.arpa")
    run(ours + ["--out", "ours.ngram"])
    sample = Path("sample.txt")
    with open(text, "rb") as source, open(sample, "wb") as out:
        out.writelines(line for number, line in enumerate(source) if number % 7 == 0)
    for kind in ["trie", "probing"]:
        run([arguments.kenlm / "build_binary", kind, "theirs.arpa", f"theirs.{kind}"])
        in_turn(f"score, {kind}", arguments.rounds,
                ([arguments.kenlm / "query", "-v", "summary", f"theirs.{kind}"], sample, "theirs.out"),
                ([arguments.tsumugi, "ngram", "perplexity", "ours.ngram", sample, "--json"], None, "ours.out"))
        summary = dict(line.split(":\t") for line in Path("theirs.out").read_text().splitlines())
        found = json.loads(Path("ours.out").read_text())
        print(f"  perplexity {summary['Perplexity including OOVs']} and {found['perplexity']}, without unknown words "
              f"{summary['Perplexity excluding OOVs']} and {found['perplexity_excluding_oov']}")
    sizes = {path: Path(path).stat().st_size for path in ["theirs.trie", "theirs.probing", "ours.ngram"]}
    print("  bytes:", ", ".join(f"{path} {size}" for path, size in sizes.items()))
    run([arguments.kenlm / "query", "-v", "word", "-v", "sentence", "theirs.probing"], sample, "theirs.out")
    run([arguments.tsumugi, "ngram", "query", "ours.ngram"], sample, "ours.out")
    compare_queries("theirs.out", "ours.out")


if __name__ == "__main__":
    main()
