#!/usr/bin/env bash
# Install the edge wing with one engine into a new virtual environment: install-edge.sh cpu|gpu|jetson [OPTION OF venv]...
# SOURCE is a folder with pyproject.toml, README.md and deploy/; VENV is the folder to make; PYTHON makes it (default: python3).
set -euo pipefail
extra=${1:-}
case $extra in
  cpu | gpu | jetson) shift ;;
  *) echo "install-edge.sh: '$extra' is no engine for an image; expected cpu, gpu or jetson" >&2; exit 2 ;;
esac
: "${SOURCE:?is the folder with pyproject.toml and deploy/}" "${VENV:?is the folder of the virtual environment to make}"

"${PYTHON:-python3}" -m venv "$@" "$VENV"
"$VENV/bin/python" -m pip install --no-cache-dir --disable-pip-version-check "${SOURCE}[${extra}]"
rm -f "$VENV/bin/pipeline" # the command of the other wing, which is not here
"$VENV/bin/inspector" --help > /dev/null
