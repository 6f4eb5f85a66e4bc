#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Builds the kubectl plugin for users' machines:
#
#   kubectl.sh archives DIR VERSION [OS/ARCH...]   writes DIR/kubectl-halfclose_VERSION_OS_ARCH.tar.gz, all six by default
#   kubectl.sh manifest DIR VERSION                writes DIR/halfclose.yaml, krew's manifest for the archives in DIR
#   kubectl.sh check DIR                           validates DIR/halfclose.yaml with krew's own program
#
#   COMMIT             of the build; by default that of the working tree
#   LICENSES_DIR       a directory whose files each archive has beside the programs
#   SOURCE_DATE_EPOCH  the time of the files in the archives; by default that of the commit
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches
export TZ=UTC LC_ALL=C
umask 022

do=$1 dir=$(realpath -m "$2") version=${3:-}
version=${version#v}
all=(linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64)
releases=https://github.com/halfclose/halfclose/releases/download

# archive OS/ARCH builds the program for a platform, and packs it.
archive() {
  local os=${1%/*} arch=${1#*/} exe='' parts
  [ "$os" != windows ] || exe=.exe
  parts=$(mktemp -d)
  make --no-print-directory "kubectl" GOOS="$os" GOARCH="$arch" VERSION="v$version" COMMIT="$commit" KUBECTL="$parts/kubectl-halfclose$exe"
  if [ "$os" != windows ]; then
    install -m 755 cluster/kubectl_complete-halfclose "$parts/"
  fi
  install -m 644 LICENSE "$parts/"
  if [ -n "${LICENSES_DIR:-}" ]; then
    install -m 644 "$LICENSES_DIR"/* "$parts/"
  fi
  # Without an entry of the directory, whose mode tar would give to the one that it unpacks in.
  (cd "$parts" && tar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --format=ustar -cf - -- *) |
    gzip -n9 >"$dir/kubectl-halfclose_${version}_${os}_$arch.tar.gz"
  rm -r "$parts"
}

# platform OS ARCH prints a platform of the manifest.
platform() {
  local file=kubectl-halfclose_${version}_$1_$2.tar.gz bin=kubectl-halfclose
  [ "$1" != windows ] || bin+=.exe
  cat <<END_OF_PLATFORM
    - selector:
        matchLabels:
          os: $1
          arch: $2
      uri: $releases/v$version/$file
      sha256: $(sha256sum "$dir/$file" | cut -d ' ' -f 1)
      bin: $bin
END_OF_PLATFORM
}

mkdir -p "$dir"
case $do in
archives)
  commit=${COMMIT:-$(git describe --match= --always --abbrev=40 --dirty)}
  epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
  shift 3
  [ $# -gt 0 ] || set -- "${all[@]}"
  for p in "$@"; do
    archive "$p"
  done
  ;;
manifest)
  {
    cat <<END_OF_HEAD
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: halfclose
spec:
  version: v$version
  homepage: https://github.com/halfclose/halfclose
  shortDescription: Find and end half-closed sockets in all pods
  description: |
    Shows which workloads of a cluster leak half-closed TCP sockets (CLOSE_WAIT,
    FIN_WAIT2), what halfclose destroyed, and why, and switches destruction on
    or off on all nodes at once.
  caveats: |
    Needs halfclose's DaemonSet in the cluster, and the right to run commands
    in its pods: see docs/cluster.md.
  platforms:
END_OF_HEAD
    for p in "${all[@]}"; do
      [ ! -e "$dir/kubectl-halfclose_${version}_${p%/*}_${p#*/}.tar.gz" ] || platform "${p%/*}" "${p#*/}"
    done
  } >"$dir/halfclose.yaml"
  ;;
check)
  "$(scripts/tool.sh validate-krew-manifest)" -manifest "$dir/halfclose.yaml" -skip-install
  ;;
*)
  echo "kubectl: want archives, manifest or check, not $do" >&2
  exit 2
  ;;
esac
