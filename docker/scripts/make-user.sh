#!/usr/bin/env bash
# Make the user that an image runs as, with the only places it may write to: /data, its home, and /engines, which `inspector install`
# fills beside /bundle.
# The uid is fixed, so that files on a volume keep their owner from one version of the image to the next.
# DESTINATION, when set, is a folder that stands in for / (its etc/group has a group `video`).
set -euo pipefail
uid=10001
root=${DESTINATION:-}
options=()
[[ -z $root ]] || options=(--prefix "$root")

groupadd "${options[@]}" --gid "$uid" inspector
# `video` owns /dev/video* and, on a Jetson, the GPU's device files too.
useradd "${options[@]}" --uid "$uid" --gid "$uid" --groups video --no-create-home --home-dir /data --shell /usr/sbin/nologin inspector
install --directory --owner "$uid" --group "$uid" --mode 0750 "$root/data" "$root/engines"
