#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Runs the demo, on a node made of namespaces that the kernel removes when the demo exits, for any reason.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

scripts/deps.sh iproute2 util-linux
[ -n "${MAKELEVEL:-}" ] || make --no-print-directory build cni-plugins
CGO_ENABLED=0 go build -trimpath -buildvcs=false -o bin/demo ./test/demo
exec bin/demo
