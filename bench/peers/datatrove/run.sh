#!/bin/sh
# Our filters against datatrove's on the same documents: every decision and every edit, and documents per second.
# Makes a virtual environment of its own under target/; never part of CI.
#   bench/peers/datatrove/run.sh [HARD_TEXTS [FILE OR FOLDER ...]]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
hard=${1:-3000}
[ $# -gt 0 ] && shift
environment=$root/target/peers/datatrove/environment
out=$root/target/peers/datatrove/out
python=$environment/bin/python
if ! cmp -s "$here/requirements.txt" "$environment/installed.txt"; then
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$environment/installed.txt"
fi
mkdir -p "$out"
cd "$root"
[ $# -gt 0 ] || set -- data docs README.md ../shared/data/wikitext-2 ../shared/data/udhr
"$python" "$here/corpus.py" "$out/documents.jsonl" "$hard" "$@"
cargo build --quiet --release -p tsumugi-data --example filter_documents
ours=$root/target/release/examples/filter_documents
# In turn, because a machine that does other things is not equally fast all the time.
for round in 1 2; do
    echo "round $round: ours, then datatrove"
    "$ours" "$out/documents.jsonl" "$out/ours.jsonl" 1
    "$python" "$here/compare.py" judge "$out/documents.jsonl" "$out/theirs.jsonl"
done
"$python" "$here/compare.py" compare "$out/documents.jsonl" "$out/theirs.jsonl" "$out/ours.jsonl"
