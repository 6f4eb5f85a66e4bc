#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Runs tests on other kernels in an emulated machine: test-kernels.sh [flags of test/kernels] [SERIES...]
#
# Without a SERIES, such as 6.1, it takes all that Debian packages. See docs/kernels.md.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

scripts/deps.sh qemu-system-x86 bash iproute2 util-linux
exec go run ./test/kernels "$@"
