#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Fuzzes each fuzz target for a short while: fuzz.sh [PACKAGE DIRECTORY...]
#
# FUZZTIME is the time for each (10s). An input that breaks one is left in its testdata, to be committed
# with the fix.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

[ $# -gt 0 ] || set -- internal pkg plugins test

# fuzz DIRECTORY TARGET fuzzes one. At the end of its time the go command now and then takes its own
# workers' cancelled context for a failure; that is no finding, so such a run is repeated, once.
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
