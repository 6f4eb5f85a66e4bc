#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Tests halfclose with real container runtimes: e2e.sh [RUNTIME...]
#
# Each runtime has a node of its own (test/node), which goes with it; the host is compared before and after.
# Logs of what fails are kept in bin/e2e/log.
# The functions are called by name, by step.
# shellcheck disable=SC2317
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

[ $# -gt 0 ] || set -- libcni cnitool ocicni containerd-1.6 containerd-2 ctr podman programs

top=$PWD
out=$top/bin/e2e log=$top/bin/e2e/log
rm -rf "$log"
mkdir -p "$out/bin" "$log"

# step NAME COMMAND... runs a command, and says how long that took. What it prints is kept. A signal to end is
# passed on, and ends all of it when the command has cleaned up.
step() {
  local name=$1 from=$SECONDS code=0
  shift
  "$@" >"$log/$name.log" 2>&1 </dev/null &
  child=$!
  wait "$child" || code=$?
  if [ -n "$ended" ]; then
    wait "$child" || true
    echo "e2e: ended in $name; logs are in $log"
    exit "$ended"
  fi
  if [ "$code" -ne 0 ]; then
    tail -n 60 "$log/$name.log"
    echo "e2e: FAILED $name after $((SECONDS - from))s; logs are in $log"
    return 1
  fi
  echo "e2e: passed $name in $((SECONDS - from))s"
}

child='' ended=''
end() {
  ended=$1
  [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true
}
trap 'end 130' INT
trap 'end 143' TERM
trap 'end 129' HUP

# build makes the programs under test and those around them. Each is built beside its place and moved there.
build() {
  local new
  new=$(mktemp -d "$out/bin.XXXXXX")
  make --no-print-directory build cni-plugins image
  cp bin/halfclose bin/cni/* "$new/"
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

# runtime NAME runs the scenarios on one, or the programs that leak, and compares the host.
runtime() {
  local tests='^TestScenarios$'
  [ "$1" != programs ] || tests='^TestPrograms$'
  mkdir -p "$log/$1"
  cd test/e2e/runtimes
  E2E_RUNTIME=$1 E2E_LOG=$log/$1 exec "$out/bin/hostcheck" "$out/bin/runtimes.test" -test.v -test.run "$tests" -test.timeout 10m
}

step packages scripts/deps.sh iproute2 util-linux containerd runc podman iptables nftables \
  haproxy nginx-light libnginx-mod-stream socat netcat-openbsd python3 python3-requests python3-urllib3
step containerd-2-build scripts/containerd.sh
E2E_BIN=$out/bin E2E_CONTAINERD=$(scripts/containerd.sh) E2E_IMAGE=$top/dist/halfclose-image.tar
export E2E_BIN E2E_CONTAINERD E2E_IMAGE
step build build
failed=0
for name; do
  step "$name" runtime "$name" || failed=1
done
exit $failed
