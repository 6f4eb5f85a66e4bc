#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Builds what a release consists of, in dist, which is emptied first: release.sh [STEP...]
#
# Without a STEP, all steps run. A named step builds again what belongs to it, and dist is not emptied.
#
#   VERSION      of the release, 0.1.0; by default that of the chart
#   PLATFORMS    "linux/amd64 linux/arm64", all by default. kubectl-halfclose is built for these, and with all also for macOS
#                and Windows
#   FORMATS      of the packages: "deb rpm", both by default
#   DIST, WORK   the directories of the artefacts and of their parts; by default dist and bin/release
#   ALLOW_DIRTY  1: build a working tree with changes, whose commit gets the suffix -dirty
#
# The same commit and version of Go give the same bytes, on every machine and in every directory: each time is that of the
# commit, and the settings of the user do not count.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches
export TZ=UTC LC_ALL=C
umask 022
unset MAKEFLAGS MFLAGS GNUMAKEFLAGS # the variables above are given to each make below
unset TAR_OPTIONS GZIP GOEXPERIMENT GOFIPS140
export GOFLAGS=-buildvcs=false GOAMD64=v1 GOARM64=v8.0 # not empty: go env -w may have set others

version=${VERSION:-$(awk '$1 == "version:" { gsub(/"/, "", $2); print $2 }' deploy/kubernetes/chart/Chart.yaml)}
version=${version#v}
all="linux/amd64 linux/arm64"
read -ra platforms <<<"${PLATFORMS:-$all}"
read -ra formats <<<"${FORMATS-deb rpm}"
commit=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

dist=${DIST:-dist}                         # the artefacts
work=$(realpath -m "${WORK:-bin/release}") # their parts: programs, share/man, share/completions, share/licenses

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
  make --no-print-directory "$@" DIST="$work" SHARE="$work/share" VERSION="v$version" COMMIT="$commit" PLATFORMS="${platforms[*]}"
}

# Man pages and completions: $work/share/man/man8/*.gz, $work/share/completions/{bash,zsh,fish}/.
manual() {
  build manual
}

# The licences of all linked modules: $work/share/licenses/{THIRD_PARTY_NOTICES,...}, and those of kubectl-halfclose in
# $work/kubectl/licenses.
licences() {
  build notices
  [ ! -e cluster/go.mod ] || scripts/notices.sh "$work/kubectl/licenses" "linux/amd64 darwin/arm64 windows/amd64" cluster
}

# halfclose_VERSION_linux_ARCH.tar.gz, to be unpacked in /usr/local.
tarballs() {
  local platform root
  for platform in "${platforms[@]}"; do
    root=$work/tarball-$(arch "$platform")
    lay_out "$platform" "$root" /usr/local
    # Only directories that are its own: tar would change the mode of an existing /usr/local/bin.
    (cd "$root/usr/local" && find . ! -type d -o -path '*/halfclose' -o -path '*/halfclose/*' | sed 's|^\./||' | sort |
      tar --create --no-recursion --files-from=- --format=ustar --mtime="@$SOURCE_DATE_EPOCH" --owner=root:0 --group=root:0) |
      gzip -9n >"$dist/halfclose_${version}_linux_$(arch "$platform").tar.gz"
  done
}

# lay_out PLATFORM DIR PREFIX installs the programs of a platform in DIR.
lay_out() {
  local base
  base=$work/halfclose-linux-$(arch "$1")
  rm -rf "$2"
  DESTDIR=$2 PREFIX=$3 scripts/install.sh "$base" "${base/halfclose-linux/halfclose-cni-linux}" "$work/share"
}

# halfclose_VERSION_ARCH.deb, halfclose-VERSION-1.ARCH.rpm.
packages() {
  local platform root format nfpm
  [ ${#formats[@]} -gt 0 ] || return 0
  nfpm=$(scripts/tool.sh nfpm)
  for platform in "${platforms[@]}"; do
    root=$work/package-$(arch "$platform")
    lay_out "$platform" "$root" /usr
    debian_changelog | gzip -9n >"$root/changelog.gz"
    find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    for format in "${formats[@]}"; do
      ROOT=$root ARCH=$(arch "$platform") VERSION=$version "$nfpm" package --config deploy/packages/nfpm.yaml \
        --packager "$format" --target "$dist/$(package_name "$format" "$(arch "$platform")")"
    done
  done
}

# package_name FORMAT ARCH prints the file name of a package.
package_name() {
  case $1:$2 in
    deb:*) echo "halfclose_${version}_$2.deb" ;;
    rpm:amd64) echo "halfclose-$version-1.x86_64.rpm" ;;
    rpm:arm64) echo "halfclose-$version-1.aarch64.rpm" ;;
    *) die "no name is known for the $1 of $2" ;;
  esac
}

# debian_changelog prints the changelog in Debian's format, which refers to the project's.
debian_changelog() {
  cat <<END
halfclose (${version/-/\~}) unstable; urgency=medium

  * The changes are listed in /usr/share/doc/halfclose/CHANGELOG.md.

 -- The halfclose Authors <halfclose@users.noreply.github.com>  $(date -R -d "@$SOURCE_DATE_EPOCH")
END
}

# halfclose-image_VERSION.tar: an OCI archive with all platforms.
image() {
  build image IMAGE="ghcr.io/halfclose/halfclose:v$version"
  mv "$work/halfclose-image.tar" "$dist/halfclose-image_$version.tar"
}

# halfclose-VERSION.tgz and halfclose-chart_VERSION.oci.tar. helm package writes the time of the build and the order of a
# walk, so the archive is written again.
chart() {
  local helm dir=$work/chart name=halfclose-$version.tgz
  helm=$(scripts/tool.sh helm)
  rm -rf "$dir"
  mkdir -p "$dir"
  "$helm" package deploy/kubernetes/chart --version "$version" --app-version "v$version" --destination "$dir" >/dev/null
  tar -xzmf "$dir/$name" -C "$dir"
  tar --create --directory="$dir" --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" --owner=root:0 --group=root:0 \
    --mode=u=rwX,go=rX halfclose | gzip -9n >"$dist/$name"
  local out
  out=$(realpath -m "$dist")
  (cd tools/image && go run . chart -o "$out/halfclose-chart_$version.oci.tar" "$out/$name")
}

# kubectl-halfclose_VERSION_OS_ARCH.tar.gz and krew's manifest halfclose.yaml.
kubectl() {
  local clients=()
  [ "${platforms[*]}" = "$all" ] || clients=("${platforms[@]}")
  if [ -d "$work/kubectl/licenses" ]; then
    export LICENSES_DIR=$work/kubectl/licenses
  fi
  COMMIT=$commit scripts/kubectl.sh archives "$dist" "$version" "${clients[@]}"
  scripts/kubectl.sh manifest "$dist" "$version"
}

# NAME_VERSION_OS_ARCH.cdx.json: the modules of each program, with their licences. A module that the notices do not have is an
# error.
sbom() {
  local platform file dir suffix
  for platform in "${platforms[@]}"; do
    suffix=${version}_linux_$(arch "$platform")
    describe "$work/halfclose-linux-$(arch "$platform")" "$work/share" "halfclose_$suffix"
    describe "$work/halfclose-cni-linux-$(arch "$platform")" "$work/share" "halfclose-cni_$suffix"
  done
  for file in "$dist"/kubectl-halfclose_*.tar.gz; do
    [ -e "$file" ] || continue
    dir=$work/kubectl/$(basename "$file" .tar.gz)
    mkdir -p "$dir"
    tar -xzf "$file" -C "$dir"
    describe "$(find "$dir" -name kubectl-halfclose -o -name kubectl-halfclose.exe)" "$work/kubectl" "$(basename "$file" .tar.gz)"
  done
}

# describe PROGRAM DIR NAME writes the SBOM of a program, whose licences are in DIR.
describe() {
  local program out
  program=$(realpath "$1")
  out=$(realpath -m "$dist")
  (cd tools/release && go run . sbom -version "v$version" -licenses "$2/licenses.json" -o "$out/$3.cdx.json" "$program")
}

# SHA256SUMS, of all files in dist.
sums() {
  (cd "$dist" && rm -f SHA256SUMS && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
}

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
settings=$(go env -changed GOEXPERIMENT GOFIPS140)
[ -z "$settings" ] || die "go env -w has set $settings, which changes the programs: remove it with go env -u"
if [ -n "$(git status --porcelain)" ]; then
  [ "${ALLOW_DIRTY:-}" = 1 ] || die "the working tree has changes, which no commit describes: commit them, or set ALLOW_DIRTY=1"
  commit+=-dirty
fi

if [ $# -eq 0 ]; then
  rm -rf "$dist" "$work"
  set -- "${steps[@]}"
fi
mkdir -p "$dist" "$work"
echo "$commit" >"$work/commit"
say "halfclose $version (commit $commit) for ${platforms[*]}"
for step in "$@"; do
  from=$SECONDS
  say "$step"
  "$step"
  say "$step took $((SECONDS - from))s"
done
say "$(find "$dist" -type f | wc -l) files in $dist"
