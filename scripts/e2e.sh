#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Tests halfclose with real container runtimes: e2e.sh [RUNTIME...]
#
# Each runtime has its own node (test/node), which disappears with it; the host is compared before and after.
# Logs of failures are kept in bin/e2e/log.
#
# shellcheck disable=SC2317 # functions are called by name, by step
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

top=$PWD
out=$top/bin/e2e log=$top/bin/e2e/log
# Runtimes that are tested at the same time: they wait more than they work.
parallel_runtimes=3

# step NAME COMMAND... runs a command and prints how long it took. Its output goes to a log file. A terminating
# signal is passed on as SIGTERM, and the command is waited for, because nodes clean up.
step() {
  local name=$1 from=$SECONDS code=0 child
  shift
  "$@" >"$log/$name.log" 2>&1 </dev/null &
  child=$!
  # shellcheck disable=SC2064 # this child
  trap "kill -TERM $child 2>/dev/null || true" INT TERM HUP
  while :; do
    wait "$child" && code=0 && break || code=$?
    kill -0 "$child" 2>/dev/null || break # otherwise a signal interrupted the wait
  done
  trap - INT TERM HUP
  if [ "$code" -gt 128 ]; then
    echo "e2e: $name was stopped by a signal after $((SECONDS - from))s" >&2
    return 1
  elif [ "$code" -ne 0 ]; then
    { tail -n 60 "$log/$name.log" && echo "e2e: FAILED $name after $((SECONDS - from))s; logs are in $log"; } >&2
    return 1
  fi
  echo "e2e: passed $name in $((SECONDS - from))s"
}

# build compiles the programs under test and the test programs, beside their final directory, and renames it.
build() {
  local new
  rm -rf "$out"/bin.*
  new=$(mktemp -d "$out/bin.XXXXXX")
  make --no-print-directory build cni-plugins image
  cp bin/halfclose "$new/"
  cp -a bin/cni "$new/"
  (cd tools/cni && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$new/" github.com/containernetworking/cni/cnitool)
  (
    cd test/e2e/runtimes
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$new/" ./prop
    CGO_ENABLED=0 go test -c -o "$new/runtimes.test" .
  )
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$new/" ./test/hostcheck
  chmod 755 "$new"
  rm -rf "${out:?}/bin"
  mv -T "$new" "$out/bin"
}

# runtime NAME runs the scenarios on one runtime, or the programs that leak.
runtime() {
  local tests='^TestScenarios$'
  [ "$1" != programs ] || tests='^TestPrograms$'
  mkdir -p "$log/$1"
  cd test/e2e/runtimes
  E2E_RUNTIME=$1 E2E_LOG=$log/$1 exec "$out/bin/runtimes.test" -test.v -test.run "$tests" -test.timeout 10m
}

# all RUNTIME... tests the runtimes, several at the same time.
all() {
  local name failed=0 ended=''
  trap 'failed=1 ended=1; kill -TERM $(jobs -rp) 2>/dev/null || true' INT TERM HUP
  for name; do
    while [ "$(jobs -rp | wc -l)" -ge "$parallel_runtimes" ]; do
      wait -n || failed=1
    done
    [ -z "$ended" ] || break
    step "$name" runtime "$name" &
  done
  while [ -n "$(jobs -p)" ]; do
    wait -n || failed=1
  done
  return "$failed"
}

if [ "${1:-}" = --run ]; then
  shift
  all "$@"
  exit
fi

[ $# -gt 0 ] || set -- programs libcni cnitool ocicni containerd-1.6 containerd-2 ctr podman
rm -rf "$log"
mkdir -p "$out/bin" "$log"
step packages scripts/deps.sh iproute2 util-linux containerd runc podman iptables nftables \
  haproxy nginx-light libnginx-mod-stream socat netcat-openbsd python3 python3-requests python3-urllib3
step containerd-2-build scripts/containerd.sh
E2E_CONTAINERD=$(scripts/containerd.sh)
step build build
export E2E_CONTAINERD E2E_BIN=$out/bin E2E_IMAGE=$top/dist/halfclose-image.tar
exec "$out/bin/hostcheck" scripts/e2e.sh --run "$@"
