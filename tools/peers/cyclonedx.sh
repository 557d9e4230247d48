#!/usr/bin/env bash
# The bills that `tsumugi bom` writes against CycloneDX's own schema (1.6, as `cyclonedx-python-lib` ships it).
#   tools/peers/cyclonedx.sh TSUMUGI MODEL...
# The package lives in a virtual environment of its own, which is kept: CYCLONEDX_VENV, by default target/peers/cyclonedx.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${CYCLONEDX_VENV:-target/peers/cyclonedx}
version=11.12.0
if ! [ -x "$venv/bin/python" ] || ! "$venv/bin/python" -c "import importlib.metadata as m; assert m.version('cyclonedx-python-lib') == '$version'" 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "cyclonedx-python-lib[validation]==$version"
fi
tsumugi=$1
shift
for model in "$@"; do
  "$tsumugi" bom "$model" --timestamp 1767225600 | "$venv/bin/python" -c '
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
text = sys.stdin.read()
errors = list(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text, all_errors=True) or [])
for error in errors:
    print(error)
print(f"{sys.argv[1]}: {len(text)} bytes, {len(errors)} errors")
sys.exit(bool(errors))' "$model"
done
