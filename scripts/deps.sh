#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Installs the missing ones of some Debian packages: deps.sh [PACKAGE...]
set -euo pipefail

[ $# -gt 0 ] || set -- iproute2 util-linux gcc libc6-dev

# A package counts as present if its program works, however it was installed.
present() {
  case $1 in
    iproute2) command -v ip && command -v ss ;;
    util-linux) command -v unshare && command -v nsenter ;;
    gcc) command -v gcc ;;
    libc6-dev) echo 'int main(void) { return 0; }' | gcc -xc - -o /dev/null ;;
    nodejs) command -v node ;;
    default-jdk-headless) command -v java && command -v javac ;;
    llvm-14) command -v llvm-strip-14 ;;
    libbpf-dev) [ -e /usr/include/bpf/bpf_core_read.h ] ;;
    ca-certificates) [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ] ;;
    *) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1")" = installed ] || command -v "$1" ;;
  esac >/dev/null 2>&1
}

missing() {
  for package in "$@"; do
    present "$package" || echo "$package"
  done
}

need=$(missing "$@")
[ -n "$need" ] || exit 0
need=${need//$'\n'/ }

if [ "$(id -u)" -ne 0 ]; then
  echo "deps: missing: $need: install them, or run this as root" >&2
  exit 1
fi
if ! command -v apt-get >/dev/null; then
  echo "deps: missing: $need: without apt-get, install the packages of your distribution that contain them" >&2
  exit 1
fi

log=$(mktemp)
remove=("$log")
trap 'rm -f "${remove[@]}"' EXIT

# Services in the packages are not started: tests start the services that they need on their own nodes.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  remove+=("$policy")
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive LC_ALL=C

# apt ARGUMENTS... runs apt-get when no other apt-get runs. apt-get waits for dpkg's lock, but not for its own locks, so
# it is retried for five minutes.
apt() {
  local try
  for try in {1..60}; do
    if apt-get -qq -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null; then
      return 0
    fi
    if [ "$try" = 60 ] || ! grep -qE 'Could not get lock|Unable to lock' "$log"; then
      return 1
    fi
    sleep 5
  done
}

# shellcheck disable=SC2086 # one word a package
if ! { apt update && apt install -y --no-install-recommends $need; }; then
  tail -n 20 "$log" >&2
  echo "deps: could not install: $need" >&2
  exit 1
fi
left=$(missing "$@")
if [ -n "$left" ]; then
  echo "deps: installed, but still not usable: ${left//$'\n'/ }" >&2
  exit 1
fi
echo "deps: installed $need"
