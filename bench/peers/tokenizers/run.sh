#!/bin/sh
# Our tokenizers against Hugging Face tokenizers, transformers and rustbpe: equal ids, equal merges, times.
# Makes a virtual environment of its own under target/; never part of CI.
#   bench/peers/tokenizers/run.sh [CORPUS [FOLDER OF MORE TEXTS [FOLDER OF CHAT TEMPLATES]]]
# Chat templates of some seventy published models lie in the source of llama-cpp-python, vendor/llama.cpp/models/templates.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
corpus=${1:-$root/data/tinyshakespeare/input.txt}
texts=${2:-$root/../shared/data/udhr}
environment=$root/target/peers/tokenizers/environment
out=$root/target/peers/tokenizers/out
if ! cmp -s "$here/requirements.txt" "$environment/installed.txt"; then
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --requirement "$here/requirements.txt"
    # Only its file of chat templates is read, so its many dependencies are left out.
    "$environment/bin/pip" install --quiet --no-deps guidance==0.3.1
    cp "$here/requirements.txt" "$environment/installed.txt"
fi
mkdir -p "$out"
"$environment/bin/python" "$here/compare.py" texts "$texts" "$out/texts.json" ${3:+"$3"}
cd "$root"
cargo run --quiet --release -p tsumugi-tokenizer --example peer_dump -- "$corpus" "$out/texts.json" "$out"
"$environment/bin/python" "$here/compare.py" compare "$corpus" "$out"
