#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Runs vet and all tests, or the given ones, with the race detector: test.sh [go test's arguments]
#
# The tests create network namespaces, which needs root. For any other user the script enters new user, mount and
# network namespaces first.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

# Before the namespaces below are entered: they have no network to fetch packages or modules.
if [ -z "${HALFCLOSE_TEST_UNSHARED:-}" ]; then
  scripts/deps.sh iproute2 util-linux python3 groff-base
  # The race detector links with C.
  export HALFCLOSE_TEST_RACE=yes
  if ! scripts/deps.sh gcc libc6-dev; then
    echo "test: no C compiler: running without the race detector" >&2
    HALFCLOSE_TEST_RACE=
  fi
  go mod download
  scripts/tool.sh nfpm >/dev/null || true # for the tests of packages, which are skipped with the reason without it
  if [ "$(id -u)" -ne 0 ]; then
    if ! why=$(unshare -rmn true 2>&1); then
      cat >&2 <<END
test: cannot create namespaces: $why
Run as root, or allow users to create namespaces: see the sysctls user.max_user_namespaces,
kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns.
END
      exit 1
    fi
    # For the tests of upgrades, which are skipped with the reason without it.
    scripts/artefact.sh previous >/dev/null || true
    HALFCLOSE_TEST_UNSHARED=1 exec unshare -rmn "$0" "$@"
  fi
else
  ip link set lo up
fi

flags=(-shuffle=on)
if [ -n "$HALFCLOSE_TEST_RACE" ]; then
  export CGO_ENABLED=1
  flags+=(-race)
  # At its exit a program waits for other threads to report a race, for one second by default. A report takes
  # milliseconds, and the tests start hundreds of programs.
  export GORACE="atexit_sleep_ms=50 ${GORACE:-}"
fi
unset HALFCLOSE_TEST_RACE HALFCLOSE_TEST_UNSHARED

if [ $# -eq 0 ]; then
  # All of vet, instead of go test's subset, so that each package is vetted once, while others are tested. Twice as many
  # packages as CPUs run in parallel, because most of them wait half of the time. The slowest come first, so that
  # shorter ones fill the gaps; pkg/reaper, which measures time, does not run beside all of the slow ones.
  flags+=(-vet=all "-p=$((2 * $(nproc)))")
  set -- ./test/e2e ./test/faults ./test/systemd ./test/monitoring ./pkg/install ./test/demo ./pkg/reaper ./pkg/doctor ./...
fi
exec go test "${flags[@]}" "$@"
