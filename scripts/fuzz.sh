#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Fuzzes each fuzz target for a short while: fuzz.sh [PACKAGE DIRECTORY...]
#
# FUZZTIME is the time for each (10s). A failing input is written to the package's testdata: commit it with the fix.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

[ $# -gt 0 ] || set -- internal pkg plugins test

# fuzz DIRECTORY TARGET runs one target. When its time is over, the go command sometimes reports its own workers'
# cancelled context as a failure; such a run is repeated once.
fuzz() {
  local try
  for try in 1 2; do
    if go test -run '^$' -fuzz "^$2\$" -fuzztime "${FUZZTIME:-10s}" "$1" >"$log" 2>&1 </dev/null; then
      return 0
    fi
    if [ "$try" = 2 ] || ! grep -q 'context deadline exceeded' "$log" || grep -q 'Failing input' "$log"; then
      return 1
    fi
  done
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0 count=0
while IFS=: read -r file func; do
  dir=./$(dirname "$file") target=${func#func }
  count=$((count + 1))
  if fuzz "$dir" "$target"; then
    execs=$(grep -oE 'execs: [0-9]+' "$log" | tail -n 1) || execs=
    echo "ok   $dir $target (${execs:-no execs})"
  else
    tail -n 40 "$log"
    echo "FAIL $dir $target"
    status=1
  fi
done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' "$@" | sort)

if [ "$count" -eq 0 ]; then
  echo "fuzz: no targets in $*" >&2
  exit 1
fi
exit $status
