#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Fuzzes each fuzz target for a short while: fuzz.sh [PACKAGE DIRECTORY...]
#
# FUZZTIME is the time for each (10s). The tests of one package are compiled once and its targets run one after the other, one
# worker each; as many packages run side by side as there are processors. An input is minimised with at most 100 executions:
# the default of a minute would be all the time that a target has. Each target starts from the inputs in its package's
# testdata/fuzz, which "make corpora" chooses. A failing input is written there: commit it with the fix.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches
export FUZZTIME=${FUZZTIME:-10s}

# fuzz PROGRAM TARGET runs one target in the package's directory. When its time is over, the testing package sometimes reports
# its own worker's cancelled context as a failure; such a run is repeated once.
fuzz() {
  local try
  for try in 1 2; do
    if "$1" -test.run '^$' -test.fuzz "^$2\$" -test.fuzztime "$FUZZTIME" -test.fuzzcachedir "$cache" \
      -test.parallel 1 -test.fuzzminimizetime 100x >"$log" 2>&1 </dev/null; then
      return 0
    fi
    if [ "$try" = 2 ] || ! grep -q 'context deadline exceeded' "$log" || grep -q 'Failing input' "$log"; then
      return 1
    fi
  done
}

# fuzzPackage DIRECTORY fuzzes the targets of one package.
fuzzPackage() (
  cd "$1"
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  log=$tmp/log
  if ! go test -c -fuzz . -o "$tmp/tests" . >"$log" 2>&1; then
    cat "$log"
    echo "FAIL $1"
    exit 1
  fi
  cache=$(go env GOCACHE)/fuzz/$(go list .) # as go test -fuzz
  status=0
  while read -r target; do
    if fuzz "$tmp/tests" "$target"; then
      execs=$(grep -oE 'execs: [0-9]+' "$log" | tail -n 1) || execs=
      echo "ok   $1 $target (${execs:-no execs})"
    else
      echo "$(tail -n 40 "$log")
FAIL $1 $target"
      status=1
    fi
  done < <(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' ./*_test.go)
  exit "$status"
)

if [ "${1-}" = --package ]; then
  fuzzPackage "$2"
  exit
fi
[ $# -gt 0 ] || set -- cluster internal pkg plugins test
# Those with most targets first, so that all processors are busy until the end.
packages=$(grep -rEc --include='*_test.go' '^func Fuzz' "$@" | awk -F '[:]' '{ sub("/[^/]*$", "", $1); n[$1] += $2 } END { for (d in n) if (n[d]) print n[d], d }' |
  sort -k1,1nr -k2 | cut -d ' ' -f 2)
if [ -z "$packages" ]; then
  echo "fuzz: no targets in $*" >&2
  exit 1
fi
# xargs fails if one of them does.
xargs -P "$(nproc)" -n 1 scripts/fuzz.sh --package <<<"$packages"
