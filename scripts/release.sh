#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Builds what a release consists of, in dist, which is emptied first: release.sh [STEP...]
#
# Without a STEP, all steps run. A named step builds again what belongs to it, and dist is not emptied.
#
#   VERSION      of the release, 0.1.0; by default that of the chart
#   PLATFORMS    "linux/amd64 linux/arm64", all by default
#   FORMATS      of the packages: "deb rpm", both by default
#   ALLOW_DIRTY  1: build a working tree with changes, whose commit gets the suffix -dirty
#
# The same commit gives the same bytes, on every machine and in every directory: each time is that of the commit.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches
export TZ=UTC LC_ALL=C
umask 022
unset MAKEFLAGS MFLAGS # the variables above are given to each make below

version=${VERSION:-$(awk '$1 == "version:" { gsub(/"/, "", $2); print $2 }' deploy/kubernetes/chart/Chart.yaml)}
version=${version#v}
read -ra platforms <<<"${PLATFORMS:-linux/amd64 linux/arm64}"
read -ra formats <<<"${FORMATS-deb rpm}"
commit=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

dist=dist             # the artefacts
work=$PWD/bin/release # their parts: programs, share/man, share/completions, share/licenses

say() { echo "release: $*"; }
die() {
  say "$*" >&2
  exit 1
}

# arch PLATFORM prints the architecture of a platform.
arch() { echo "${1#*/}"; }

# The programs of each platform: $work/halfclose-linux-ARCH, $work/halfclose-cni-linux-ARCH.
programs() {
  build build-all
}

# build TARGET... runs make for this release.
build() {
  make --no-print-directory "$@" DIST="$work" VERSION="v$version" COMMIT="$commit" PLATFORMS="${platforms[*]}"
}

# Man pages and completions: $work/share/man/man[158]/*.gz, $work/share/completions/{bash,zsh,fish}/.
manual() { :; }

# The licences of all linked modules: $work/share/licenses/{THIRD_PARTY_NOTICES,...}.
licences() { :; }

# halfclose_VERSION_linux_ARCH.tar.gz, to be unpacked in /usr/local.
tarballs() { :; }

# halfclose_VERSION_ARCH.deb, halfclose-VERSION-1.ARCH.rpm.
packages() { :; }

# halfclose-image_VERSION.tar: an OCI archive with all platforms.
image() {
  build image
  mv "$work/halfclose-image.tar" "$dist/halfclose-image_$version.tar"
}

# halfclose-VERSION.tgz and halfclose-chart_VERSION.oci.tar.
chart() { :; }

# kubectl-halfclose_VERSION_OS_ARCH.tar.gz and krew's manifest halfclose.yaml.
kubectl() { :; }

# *.cdx.json: what each artefact consists of.
sbom() { :; }

# SHA256SUMS, of all files in dist.
sums() { :; }

steps=(programs manual licences tarballs packages image chart kubectl sbom sums)

for step in "$@"; do
  [[ " ${steps[*]} " = *" $step "* ]] || die "there is no step $step: the steps are ${steps[*]}"
done
for platform in "${platforms[@]}"; do
  [[ $platform = linux/* ]] || die "the platform $platform is not linux/ARCH"
done
for format in "${formats[@]}"; do
  [[ $format = deb || $format = rpm ]] || die "the format $format is neither deb nor rpm"
done
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || die "the version $version is not like 0.1.0 or 0.1.0-rc.1"
if [ -n "$(git status --porcelain)" ]; then
  [ "${ALLOW_DIRTY:-}" = 1 ] || die "the working tree has changes, which no commit describes: commit them, or set ALLOW_DIRTY=1"
  commit+=-dirty
fi

if [ $# -eq 0 ]; then
  rm -rf "$dist" "$work"
  set -- "${steps[@]}"
fi
mkdir -p "$dist" "$work"
say "halfclose $version (commit $commit) for ${platforms[*]}"
for step in "$@"; do
  from=$SECONDS
  say "$step"
  "$step"
  say "$step took $((SECONDS - from))s"
done
say "$(find "$dist" -type f | wc -l) files in $dist"
