#!/usr/bin/env bash
# The official `openai` Python client against a server of ours.
#   tools/peers/openai_client.sh URL [API_KEY]         a server that runs, as http://127.0.0.1:8080/
#   tools/peers/openai_client.sh SERVER [ARGUMENT...]  a program that prints its http:// address; started and stopped here
# Without arguments: the example server of `tsumugi-serve`, which needs no model.
# The client lives in a virtual environment of its own, which is kept: OPENAI_VENV, by default target/peers/openai.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${OPENAI_VENV:-target/peers/openai}
version=3.54.0
if ! [ -x "$venv/bin/python" ] || ! "$venv/bin/python" -c "import openai; assert openai.__version__ == '$version'" 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "openai==$version"
fi

case ${1:-} in
  http://* | https://*)
    exec "$venv/bin/python" tools/peers/openai_client.py "$@"
    ;;
  '')
    cargo build --quiet --package tsumugi-serve --example mock_server
    set -- target/debug/examples/mock_server 0 256 2
    ;;
esac

log=$(mktemp)
"$@" >"$log" 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; rm -f "$log"' EXIT
for _ in $(seq 600); do
  url=$(grep -oE -m1 'http://[^ /]+/?' "$log" || true)
  [ -n "$url" ] && break
  kill -0 "$pid" 2>/dev/null || { cat "$log" >&2; exit 2; }
  sleep 0.1
done
[ -n "$url" ] || { echo "the server printed no address within a minute" >&2; exit 2; }
"$venv/bin/python" tools/peers/openai_client.py "$url"
