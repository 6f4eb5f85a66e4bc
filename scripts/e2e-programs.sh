#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Tests halfclose with programs that leak and that half-close: e2e-programs.sh [FAMILY...]
#
# Families are the tests of test/programs without "Test", in lower case: pools, retries, answers and so on. Without an
# argument all of them run. With QUICK=1 only the first scenario of each family runs. HALFCLOSE_FINDER names one finder.
# Needs root and Go. Installs the other programs from Debian's packages and npm. The logs of the reapers are kept in
# bin/e2e-programs/log.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

made=$PWD/bin/e2e-programs
started=$SECONDS

# retry COMMAND... runs a command up to three times.
retry() {
  local try
  for try in 1 2 3; do
    "$@" && return 0
    [ "$try" = 3 ] || sleep 5
  done
  return 1
}

# install_npm installs the npm packages that the lock file names, unless they are installed.
install_npm() {
  local from=test/programs/testdata/npm log=$made/log/npm.log
  cmp -s "$from/package-lock.json" "$made/npm/installed" && return 0
  rm -rf "$made/npm"
  mkdir -p "$made/npm"
  cp "$from"/package*.json "$made/npm/"
  if ! (cd "$made/npm" && retry npm ci --ignore-scripts --no-audit --no-fund) >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    echo "e2e-programs: could not install the packages of $from from npm" >&2
    return 1
  fi
  cp "$from/package-lock.json" "$made/npm/installed"
}

rm -rf "$made/log"
mkdir -p "$made/log"
scripts/deps.sh iproute2 util-linux gcc libc6-dev \
  python3 python3-requests python3-urllib3 python3-httpx python3-pycurl python3-pymemcache python3-psycopg2 gunicorn \
  nodejs npm default-jdk-headless perl redis-server redis-tools memcached \
  curl busybox netcat-openbsd ncat socat openssh-client openssh-server haproxy nginx-light libnginx-mod-stream git tar
install_npm
javac -d "$made/java" test/programs/testdata/*.java
gcc -O2 -Wall -Werror -o "$made/client" test/programs/testdata/client.c

run=.
if [ $# -gt 0 ]; then
  run=$(printf '|%s' "$@")
  run="(?i)^Test(${run:1})$"
fi
export E2E_PROGRAMS=$made
# A scenario waits most of the time, so several run at the same time.
go test -count=1 -timeout 15m -parallel "${PARALLEL:-8}" -run "$run" -v ./test/programs
echo "e2e-programs: passed in $((SECONDS - started))s"
