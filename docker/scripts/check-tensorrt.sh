#!/usr/bin/env bash
# Fail the build when the base image's own TensorRT cannot be seen from the virtual environment VENV.
# It is found, not loaded: its libraries need the driver, which comes with `--runtime nvidia` only when the image runs.
set -euo pipefail
: "${VENV:?is the folder of the virtual environment}"

"$VENV/bin/python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("tensorrt") is None)' || {
  echo "check-tensorrt.sh: no Python module tensorrt is visible in $VENV;" \
    "take a base image with JetPack's TensorRT for Python and make the environment with --system-site-packages" >&2
  exit 1
}
