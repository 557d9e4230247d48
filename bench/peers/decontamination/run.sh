#!/bin/sh
# Our decontamination against lm-evaluation-harness's on the same planted documents and benchmark items: every decision that
# differs, with its reason. Makes a virtual environment of its own under target/; never part of CI.
#   bench/peers/decontamination/run.sh [DATA]
# DATA has gsm8k/test.jsonl, mmlu/test/*.csv and wikitext-2 (clean text). TSUMUGI names a binary that is built already.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
data=$(realpath "${1:-$root/../shared/data}")
environment=$root/target/peers/decontamination/environment
out=$root/target/peers/decontamination/out
if ! cmp -s "$here/requirements.txt" "$environment/installed.txt"; then
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --no-deps --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$environment/installed.txt"
fi
[ -n "${TSUMUGI:-}" ] || { cargo build --quiet --manifest-path "$root/Cargo.toml" -p tsumugi-cli; TSUMUGI=$root/target/debug/tsumugi; }
rm -rf "$out"
mkdir -p "$out"
exec "$environment/bin/python" "$here/compare.py" "$TSUMUGI" "$data" "$out"
