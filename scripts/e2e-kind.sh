#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Tests halfclose on a real Kubernetes cluster of two nodes: e2e-kind.sh [go test's flags, as -test.run=...]
#
# With a working Docker and the internet it is kind's usual cluster. Without, all parts of a cluster are built once from
# Debian's packages and Go's modules (see artefact.sh), and a Docker is started for the test, on its own node
# (test/node) that disappears with it; the host is compared before and after.
# Needs root, Go and make. Logs of failures are kept in bin/e2e-kind.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches
started=$SECONDS

if [ "$(id -u)" -ne 0 ]; then
  echo "e2e-kind: run this as root: it builds images from root's files, and may start a Docker" >&2
  exit 1
fi

# step WHAT COMMAND... prints the step, and how long it took if that is 2 s or more.
step() {
  local what=$1 from=$SECONDS
  shift
  echo "e2e-kind: $what"
  "$@"
  [ $((SECONDS - from)) -lt 2 ] || echo "e2e-kind: $what took $((SECONDS - from))s"
}

# has_docker reports whether a Docker works here.
has_docker() {
  command -v docker && docker info
} >/dev/null 2>&1

# can_pull reports whether kind's node image is here or can be pulled.
can_pull() {
  local image
  image=$(cd tools/kind && go list -m -f '{{.Dir}}' sigs.k8s.io/kind)/pkg/apis/config/defaults/image.go
  image=$(sed -n 's/^const Image = "\(.*\)"/\1/p' "$image")
  docker image inspect "$image" || timeout 300 docker pull --quiet "$image"
} >/dev/null 2>&1

# fetch NAME PATH COMMAND... links PATH, below the directory that the command prints, for the test.
fetch() {
  local name=$1 path=$2 place
  shift 2
  place=$("$@")
  ln -s "$(realpath "$place")$path" "$needs/$name"
}

# fetch_previous fetches the release that an upgrade starts from. Without the repository's history the test skips that
# chapter, or fails it in CI.
fetch_previous() {
  local place code=0
  place=$(scripts/artefact.sh previous) || code=$?
  case $code in
    0) ln -s "$place" "$needs/previous" ;;
    3) ;;
    *) return "$code" ;;
  esac
}

# node_parts collects the files of a node that are not from Debian. The plugin that make build puts into bin/cni is not
# part of a node: the chart installs halfclose.
node_parts() {
  mkdir -p "$needs/node/usr/bin" "$needs/node/opt/cni/bin"
  cp -a "$needs"/{kubernetes,containerd}/* "$needs/node/usr/bin/"
  rm "$needs/node/usr/bin/version"
  make --no-print-directory cni-plugins
  cp bin/cni/* "$needs/node/opt/cni/bin/"
  rm -f "$needs/node/opt/cni/bin"/halfclose{,-reaper}
}

# make_release makes the artefacts of a release that a cluster needs, for this machine, with the version that the manifests
# name.
make_release() {
  local arch version
  arch=$(go env GOARCH)
  rm -rf dist # with artefacts of other versions
  ALLOW_DIRTY=1 PLATFORMS=linux/$arch scripts/release.sh programs image chart
  ln -s "$PWD"/dist/halfclose-image_*.tar "$needs/halfclose-image.tar"
  ln -s "$PWD"/dist/halfclose-[0-9]*.tgz "$needs/chart"
  ln -s "$PWD/bin/release/halfclose-cni-linux-$arch" "$needs/plugin"
  version=$(basename dist/halfclose-[0-9]*.tgz .tgz)
  scripts/kubectl.sh archives dist "${version#halfclose-}" "linux/$arch" # release.sh builds it for every platform
  tar -xzf dist/kubectl-halfclose_*.tar.gz -C "$needs" kubectl-halfclose
}

# operator_types prints the directory of the Prometheus operator's module, which has its custom resources.
operator_types() {
  (cd test/monitoring/operator && go mod download -json github.com/prometheus-operator/prometheus-operator@v0.87.1) |
    sed -n 's/.*"Dir": "\(.*\)".*/\1/p'
}

build_test() {
  export CGO_ENABLED=0
  mkdir "$needs/peer"
  go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$needs/peer/peer" ./test/kind/peer
  go build -trimpath -buildvcs=false -o "$work/" ./test/hostcheck
  go test -c -vet=off -o "$work/kind.test" ./test/kind
}

# run COMMAND... passes a signal on to it, and waits for it.
run() {
  local code=0
  "$@" &
  child=$!
  wait "$child" || code=$?
  while kill -0 "$child" 2>/dev/null; do # a signal interrupted the wait
    code=0
    wait "$child" || code=$?
  done
  child=
  return "$code"
}

child=
pass() {
  [ -n "$child" ] || exit 1
  kill -s TERM "$child" 2>/dev/null || true
}

finish() {
  local code=$?
  [ $code -eq 0 ] || echo "e2e-kind: failed: logs are in $log" >&2
  rm -rf --one-file-system "$work"
}

cache=${HALFCLOSE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/halfclose}
work=$cache/e2e-kind
needs=$work/needs
log=$PWD/bin/e2e-kind
mkdir -p "$cache"
exec 8>"$cache/e2e-kind.lock"
flock 8                           # one cluster at a time
rm -rf --one-file-system "$work" # left by a run that was killed
rm -rf "$log"
mkdir -p "$needs" "$log"
trap finish EXIT
trap pass INT TERM HUP

step "install packages" scripts/deps.sh ca-certificates python3 util-linux prometheus
has_docker || step "install Docker" scripts/deps.sh docker.io
step "build kind" fetch kind "" scripts/tool.sh kind
step "build Helm" fetch helm "" scripts/tool.sh helm
if has_docker; then
  check=
else
  check=$work/hostcheck # an existing Docker keeps images and a network
  export E2E_KIND_DOCKER=$work/docker
  mkdir "$E2E_KIND_DOCKER"
fi
if [ -n "$check" ] || ! can_pull; then
  step "build Kubernetes" fetch kubernetes "" scripts/artefact.sh kubernetes
  step "build containerd" fetch containerd "" scripts/containerd.sh
  step "unpack a Debian for nodes" fetch debian /rootfs scripts/artefact.sh node
  step "gather the parts of a node" node_parts
fi
step "unpack a Debian with programs that leak" fetch programs /rootfs scripts/artefact.sh programs
step "build the release to upgrade from" fetch_previous
step "make the release" make_release
ln -s "$PWD/deploy/kubernetes" "$needs/deploy"
ln -s "$log" "$needs/logs"
step "fetch the Prometheus operator's types" fetch operator /example/prometheus-operator-crd operator_types
step "build the test" build_test
export E2E_KIND_NEEDS=$needs
cd test/kind
# shellcheck disable=SC2086 # one word or none
step "test" run $check "$work/kind.test" -test.v -test.timeout=40m "$@"
cd ../..
echo "e2e-kind: passed in $((SECONDS - started))s"
