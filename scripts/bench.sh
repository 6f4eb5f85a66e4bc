#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Measures halfclose next to the alternatives: bench.sh [the benchmark's arguments, see -help]
#
# BENCH_SHORT=1, or -short, is a run of 90 s that shows that everything works; its figures mean little. The benchmark
# enters its own mount, network and PID namespaces: see docs/performance.md.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

scripts/deps.sh iproute2 util-linux python3
make --no-print-directory build

# Built with halfclose's flags, so that a process of either costs the same to start.
for program in bench noop; do
  dir=./test/bench
  [ "$program" = bench ] || dir=./test/bench/$program
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "bin/bench/$program" "$dir"
done

exec bin/bench/bench "$@"
