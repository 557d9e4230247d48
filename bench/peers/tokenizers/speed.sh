#!/bin/sh
# Encoding speed and ids of public vocabularies: ours, Hugging Face tokenizers, tiktoken, SentencePiece, in turn.
# Makes a virtual environment of its own under target/; never part of CI.
#   bench/peers/tokenizers/speed.sh CORPUS VOCABULARY...
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
corpus=$(realpath "$1")
shift
environment=$root/target/peers/tokenizers/speed-environment
out=$root/target/peers/tokenizers/out
[ -x "$environment/bin/tsumugi-ready" ] || {
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet tokenizers==0.23.3 tiktoken==0.14.0 sentencepiece==0.2.3
    ln -s python "$environment/bin/tsumugi-ready"
}
mkdir -p "$out"
cargo build --quiet --release --manifest-path "$root/Cargo.toml" -p tsumugi-tokenizer --example peer_ids
"$environment/bin/python" "$here/speed.py" "$root/target/release/examples/peer_ids" "$corpus" "$out" "$@"
