#!/usr/bin/env bash
# The official `huggingface_hub` Python package and `tsumugi pull` over one cache, against a mock of the hub: neither
# fetches what the other has fetched.
#   tools/peers/huggingface_hub.sh [TSUMUGI]     the binary, by default target/debug/tsumugi, built first
# The package lives in a virtual environment of its own, which is kept: HF_VENV, by default target/peers/huggingface_hub.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${HF_VENV:-target/peers/huggingface_hub}
version=2.4.0
if ! [ -x "$venv/bin/python" ] || ! "$venv/bin/python" -c "import huggingface_hub as h; assert h.__version__ == '$version'" 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "huggingface_hub==$version"
fi
if [ $# = 0 ]; then
  cargo build --quiet --package tsumugi-cli
  set -- target/debug/tsumugi
fi
exec "$venv/bin/python" tools/peers/huggingface_hub_cache.py "$1"
