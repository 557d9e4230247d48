#!/usr/bin/env bash
# OpenSSF's model-signing and `tsumugi sign | verify`: each verifies what the other signed, and refuses what was changed.
#   bench/peers/model_signing/run.sh [TSUMUGI] [GIGABYTES]    the binary (built in release mode if none is given); of the timing
#   bench/peers/model_signing/run.sh --fixtures               writes crates/scan/fixtures/provenance/ again
set -euo pipefail
cd "$(dirname "$0")/../../.."
here=bench/peers/model_signing
venv=.venv-peers-model-signing
if ! [ -x "$venv/bin/python" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
fi
if [ "${1:-}" = --fixtures ]; then
  exec "$venv/bin/python" "$here/make_fixtures.py" crates/scan/fixtures/provenance
fi
if [ $# = 0 ]; then
  cargo build --quiet --release --package tsumugi-cli
  set -- target/release/tsumugi
fi
exec "$venv/bin/python" "$here/compare.py" "$@"
