#!/bin/sh
# Trainers on one text, in turn: ours, rustbpe, Hugging Face tokenizers, SentencePiece. Times, shared tokens, compression, and
# equal ids of the files that we write. Makes a virtual environment of its own under target/; never part of CI.
#   bench/peers/tokenizers/train.sh CORPUS [THREADS]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
corpus=$(realpath "$1")
environment=$root/target/peers/tokenizers/train-environment
out=$root/target/peers/tokenizers/trained
[ -x "$environment/bin/tsumugi-ready" ] || {
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet tokenizers==0.23.3 rustbpe==0.1.0 sentencepiece==0.2.3
    ln -s python "$environment/bin/tsumugi-ready"
}
mkdir -p "$out"
cargo build --quiet --release --manifest-path "$root/Cargo.toml" -p tsumugi-tokenizer --example train_time
"$environment/bin/python" "$here/train.py" "$root/target/release/examples/train_time" "$corpus" "$out" "${2:-2}"
