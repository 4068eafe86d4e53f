#!/usr/bin/env bash
# Install both wings, with torch and the CPU engine that export checks its files on, into a new virtual environment (6 GB).
# SOURCE is a folder with pyproject.toml, README.md, pipeline/ and deploy/; VENV is the folder to make; PYTHON makes it.
set -euo pipefail
: "${SOURCE:?is the folder with pyproject.toml, pipeline/ and deploy/}" "${VENV:?is the folder of the virtual environment to make}"

"${PYTHON:-python3}" -m venv "$VENV"
"$VENV/bin/python" -m pip install --no-cache-dir --disable-pip-version-check "${SOURCE}[train,cpu]"
