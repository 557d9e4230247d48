#!/usr/bin/env bash
# Builds the server over a model without weights, starts it, drives its chat page in a headless Chromium, stops it.
#   tools/browser/run.sh [FOLDER for screenshots]
# Needs Chromium (Debian: apt-get install chromium) and Node 20 or newer; exits 2 where one is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-target/browser}
server=${MOCK_SERVER:-}
if [ -z "$server" ]; then
  cargo build --quiet --package tsumugi-serve --example mock_server
  server=target/debug/examples/mock_server
fi

status=0
log=$(mktemp)
trap 'kill "$pid" 2>/dev/null || true; rm -f "$log"' EXIT

# Starts the server (port, context, pause in ms, API key), drives its page, stops it.
drive() {
  local url=''
  "$server" "${@:1:3}" ${4:+"$4"} >"$log" &
  pid=$!
  for _ in $(seq 100); do
    url=$(sed -n 's/^listening on //p' "$log")
    [ -n "$url" ] && break
    sleep 0.1
  done
  node tools/browser/chat_page.mjs "$url" --out "$out" ${4:+--key "$4"} || status=1
  kill "$pid"
  wait "$pid" 2>/dev/null || true
}

drive 0 128 15
drive 0 128 1 a-key
exit "$status"
