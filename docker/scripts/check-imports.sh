#!/usr/bin/env bash
# Fail the build, not the line, when a module does not load here, for example for want of a system library.
# check-imports.sh MODULE...; VENV is the virtual environment.
set -euo pipefail
: "${VENV:?is the folder of the virtual environment}"
[[ $# -gt 0 ]] || { echo "check-imports.sh: name the modules to load" >&2; exit 2; }

for module in "$@"; do
  "$VENV/bin/python" -c "import $module" || { echo "check-imports.sh: $module does not load in this image" >&2; exit 1; }
done
