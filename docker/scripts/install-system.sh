#!/usr/bin/env bash
# Install Debian or Ubuntu packages and leave no package lists behind: install-system.sh PACKAGE...
set -euo pipefail
[[ $# -gt 0 ]] || { echo "install-system.sh: name the packages to install" >&2; exit 2; }

export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends "$@"
rm -rf /var/lib/apt/lists/*
