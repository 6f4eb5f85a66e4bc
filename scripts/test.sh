#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Runs vet and all tests with the race detector, or those that are asked for: test.sh [go test's arguments]
#
# The tests make network namespaces. Root just does; anybody else gets user, mount and network namespaces
# of their own to do it in.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

# Not in the namespaces below, from which neither packages nor modules can be fetched.
if [ -z "${HALFCLOSE_TEST_UNSHARED:-}" ]; then
  scripts/deps.sh iproute2 util-linux python3
  # The race detector links with C.
  export HALFCLOSE_TEST_RACE=yes
  if ! scripts/deps.sh gcc libc6-dev; then
    echo "test: no C compiler: running without the race detector" >&2
    HALFCLOSE_TEST_RACE=
  fi
  go mod download
  if [ "$(id -u)" -ne 0 ]; then
    if ! why=$(unshare -rmn true 2>&1); then
      cat >&2 <<END
test: cannot make namespaces: $why
Run as root, or let users make namespaces of their own: sysctl user.max_user_namespaces,
kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns say whether they may.
END
      exit 1
    fi
    # For the tests of upgrades, which skip with the reason where it cannot be had.
    scripts/artefact.sh single >/dev/null || true
    HALFCLOSE_TEST_UNSHARED=1 exec unshare -rmn "$0" "$@"
  fi
else
  ip link set lo up
fi

flags=(-shuffle=on)
if [ -n "$HALFCLOSE_TEST_RACE" ]; then
  export CGO_ENABLED=1
  flags+=(-race)
  # A program waits at its exit for other threads to report a race: a second by default. A report takes
  # milliseconds, and the tests start hundreds of programs.
  export GORACE="atexit_sleep_ms=50 ${GORACE:-}"
fi
unset HALFCLOSE_TEST_RACE HALFCLOSE_TEST_UNSHARED

if [ $# -eq 0 ]; then
  # All of vet, which go test otherwise runs in part: so each package is vetted once, while others are tested. Twice as many
  # packages as CPUs are tested side by side, since most of them wait half of the time. The slowest come first, so that the
  # shorter ones fill the time beside them; pkg/reaper, which measures time, does not run beside all of those.
  flags+=(-vet=all "-p=$((2 * $(nproc)))")
  set -- ./test/e2e ./test/systemd ./test/monitoring ./pkg/install ./test/demo ./pkg/reaper ./pkg/doctor ./...
fi
exec go test "${flags[@]}" "$@"
