#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Prints the directory of containerd, its shim and ctr at the version that tools/containerd/go.mod pins,
# building them on the first call, which takes minutes.
set -euo pipefail
cd "$(dirname "$0")/../tools/containerd"
export HOME=${HOME-~} # where the go command keeps its caches

version=$(go list -m -f '{{.Version}}' github.com/containerd/containerd/v2)
bin=$(cd ../.. && pwd)/bin/tools/containerd-$version
if [ ! -d "$bin" ]; then
  echo "containerd: building $version, once" >&2
  # Built beside its final path and renamed: an interrupted build leaves nothing at that path.
  trap 'rm -rf "$bin.$$"' EXIT
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$bin.$$/" tool
  mv -T "$bin.$$" "$bin"
fi
echo "$bin"
