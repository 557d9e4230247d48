#!/bin/sh
# Our near duplicates against datatrove's MinHash: the same settings (5-grams, 14 buckets of 8 hashes), the same documents with
# planted copies, one thread each. Ours includes reading and writing the corpus. Run `run.sh` first: it makes the environment
# and the documents.
#   bench/peers/datatrove/minhash.sh    # ROUNDS=2 is the default
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
python=$root/target/peers/datatrove/environment/bin/python
out=$root/target/peers/datatrove/minhash
rm -rf "$out"
mkdir -p "$out"
cd "$root"
"$python" "$here/minhash.py" plant "$root/target/peers/datatrove/out/documents.jsonl" "$out/documents.jsonl"
cargo build --quiet --release -p tsumugi-data --example near_duplicates
rounds=${ROUNDS:-2}
for round in $(seq "$rounds"); do
    echo "round $round: ours, then datatrove"
    "$root/target/release/examples/near_duplicates" "$out/documents.jsonl" "$out/ours-$round" 1
    "$python" "$here/minhash.py" find "$out/documents.jsonl" "$out/theirs-$round"
done
"$python" "$here/minhash.py" compare "$out/documents.jsonl" "$out/theirs-$rounds/clusters.jsonl" "$out/ours-$rounds/clusters.jsonl"
