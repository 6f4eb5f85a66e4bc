#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Builds the release of dist again, and compares it: reproduce.sh [cold]
#
# The second build is of a clone of the same commit, in another directory, with another HOME and umask, and with settings of a user
# that would change programs and archives, with the version, platforms and formats of the first. Both share the module cache,
# whose content go.sum fixes.
#
# They share the build cache too, unless cold is given. Since -trimpath removes the directory from the cache's keys, packages are then
# compiled once. What is shown is that linking, archives, packages and documents do not depend on time, directory, user and
# the order of files. With cold the second build has an empty build cache, so that compilation is compared too.
set -euo pipefail
cd "$(dirname "$0")/.."

first=$PWD/dist
if [ ! -f "$first/SHA256SUMS" ]; then
  echo "reproduce: there is no release in dist: run make release first" >&2
  exit 1
fi
if [ "$(cat bin/release/commit)" != "$(git rev-parse HEAD)" ]; then
  echo "reproduce: dist is of the commit $(cat bin/release/commit), not of HEAD: run make release again" >&2
  exit 1
fi
version=$(basename "$first"/halfclose-chart_*.oci.tar .oci.tar)
version=${version#halfclose-chart_}
platforms=() formats=()
for file in "$first/halfclose_${version}_linux_"*.tar.gz; do
  platform=$(basename "$file" .tar.gz)
  platforms+=("linux/${platform##*_}")
done
for format in deb rpm; do
  [ -z "$(find "$first" -name "*.$format")" ] || formats+=("$format")
done

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
GOENV=$(go env GOENV) GOMODCACHE=$(go env GOMODCACHE) GOCACHE=$(go env GOCACHE)
[ "${1-}" != cold ] || GOCACHE=$dir/cache
export GOENV GOMODCACHE GOCACHE
clone=$dir/somewhere/else/halfclose
umask 077
git clone -q --no-hardlinks . "$clone"
git -C "$clone" checkout -q --detach "$(git rev-parse HEAD)"
mkdir -p "$clone/bin" "$dir/home"
ln -s "$PWD/bin/tools" "$clone/bin/tools" # helm and nfpm of the versions that go.mod pins
echo "reproduce: building $(git rev-parse --short HEAD) again in $clone"
GOAMD64=v3 GOARM64=v8.1 GOFLAGS=-tags=netgo TAR_OPTIONS=--owner=daemon GZIP=-1 \
  HOME=$dir/home VERSION=$version PLATFORMS=${platforms[*]} FORMATS=${formats[*]} DIST='' WORK='' "$clone/scripts/release.sh"
second=$clone/dist

if diff <(cd "$first" && ls) <(cd "$second" && ls) && (cd "$second" && sha256sum --quiet -c "$first/SHA256SUMS") &&
  cmp "$first/SHA256SUMS" "$second/SHA256SUMS"; then
  echo "reproduce: $(wc -l <"$first/SHA256SUMS") files are the same in both builds"
  exit
fi

# The first file that differs, and where.
for file in "$first"/*; do
  other=$second/$(basename "$file")
  if ! [ -e "$other" ] || cmp -s "$file" "$other"; then continue; fi
  echo "reproduce: $(basename "$file") differs:" >&2
  case $file in
    *.tar | *.tar.gz | *.tgz)
      # Times, owners and sizes of members, then their content.
      diff <(tar -tvf "$file" --full-time) <(tar -tvf "$other" --full-time) | head -n 20 >&2 || true
      mkdir -p "$dir/one" "$dir/two"
      tar -xf "$file" -C "$dir/one"
      tar -xf "$other" -C "$dir/two"
      diff -rq "$dir/one" "$dir/two" | head -n 20 >&2 || true
      ;;
    *.json | *.yaml | *SUMS) diff "$file" "$other" | head -n 20 >&2 || true ;;
    *) cmp -l "$file" "$other" 2>&1 | head -n 5 >&2 || true ;;
  esac
  exit 1
done
exit 1
