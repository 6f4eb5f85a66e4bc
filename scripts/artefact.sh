#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Prints the directory of files that a test needs, building them on the first call from Debian's packages and Go's
# modules only:
#
#   artefact.sh kubernetes      the program of tools/kubernetes, under each of its names
#   artefact.sh node|programs   a Debian root file system, rootfs/, with the packages of a Kubernetes node, or with
#                               programs that half-close
#   artefact.sh kernel-SERIES   a kernel for an emulated machine, such as kernel-6.1: vmlinuz, the modules that the
#                               tests need as modules/NN-NAME.ko in the order of loading, and its release and package as
#                               text; exits 3 if Debian's mirror has none of the series
#   artefact.sh previous        the release before, to upgrade from: bin/halfclose, bin/cni/halfclose, image.tar, chart/
#                               and systemd/; exits 3 without the repository's history
#
# They stay in ${HALFCLOSE_CACHE:-~/.cache/halfclose}, each under the digest of its inputs: a changed version gets a new
# directory, and worktrees share equal ones.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

name=$1
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
cache=${HALFCLOSE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/halfclose}

# The kubelet and kubeadm compare versions, which the linker sets.
make_kubernetes() {
  local version at=k8s.io/component-base/version program
  version=$(cd tools/kubernetes && go list -m -f '{{.Version}}' k8s.io/kubernetes)
  local major=${version#v}
  local minor=${major#*.}
  local stamp="-X $at.gitVersion=$version -X $at.gitMajor=${major%%.*} -X $at.gitMinor=${minor%%.*}"
  (cd tools/kubernetes && CGO_ENABLED=0 nice go build -trimpath -buildvcs=false -ldflags "-s -w $stamp" -o "$1/" .)
  for program in etcd kube-{apiserver,controller-manager,scheduler} kube{let,adm,ctl}; do
    ln -s kubernetes "$1/$program"
  done
  echo "$version" >"$1/version"
}

# debian OUTPUT PACKAGE... unpacks a Debian of the host's release, from the host's mirror.
debian() {
  local to=$1 suite mirror
  shift
  scripts/deps.sh debootstrap util-linux
  # shellcheck source=/dev/null
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Codename: $suite" | head -n 1)
  # In its own namespaces, so that the kernel removes its mounts and processes when it exits.
  unshare --mount --pid --fork --kill-child debootstrap --variant=minbase \
    --include="$(IFS=, && echo "$*")" "$suite" "$to/rootfs" "$mirror"
  rm -rf "$to/rootfs"/{var/{cache/apt,lib/apt/lists,log},usr/share/{doc,locale,man,info}}/*
}

make_node() {
  debian "$1" systemd{,-sysv} dbus runc iptables iproute2 ethtool socat conntrack kmod procps mount util-linux hostname \
    ca-certificates tar gzip
}

make_programs() {
  debian "$1" python3-minimal haproxy netcat-openbsd
}

# suites SERIES lists Debian's releases that may have a kernel of the series.
suites() {
  case $1 in
    5.10) echo bullseye{,-security} ;;
    6.1) echo bookworm{,-security} ;;
    *) echo trixie{,-security,-backports} sid ;;
  esac
}

# The modules that the tests need. modprobe adds their dependencies. A kernel without one of them has it built in, or lacks the
# feature, which the tests find out.
modules=(inet_diag tcp_diag mptcp_diag veth bridge dummy nf_tables nf_conntrack nft_ct tls cls_cgroup sch_netem overlay fuse)

# The kernel is of Debian's cloud flavour: it boots fastest, and its network is configured as in the others. apt-get
# verifies it, with lists of its own: the host's know one release of Debian, if any.
make_kernel() {
  local to=$1 series=${name#kernel-} root package packages version release module suite deb
  if [ "$(dpkg --print-architecture)" != amd64 ]; then
    echo "artefact: the kernels to test are for amd64, and this machine is not" >&2
    exit 3
  fi
  scripts/deps.sh debian-archive-keyring kmod xz-utils
  root=$to/apt
  mkdir -p "$root"/{lists/partial,cache/archives/partial}
  local options=(-qq -o "Dir::State::Lists=$root/lists" -o "Dir::Cache=$root/cache" -o Dir::State::Status=/dev/null
    -o "Dir::Etc::SourceList=$root/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Acquire::Languages=none
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o APT::Architectures=amd64 -o APT::Sandbox::User=root)
  for suite in $(suites "$series"); do
    case $suite in
      *-security) echo "deb [signed-by=$keyring] http://deb.debian.org/debian-security $suite main" ;;
      *) echo "deb [signed-by=$keyring] http://deb.debian.org/debian $suite main" ;;
    esac
  done >"$root/sources.list"
  apt-get "${options[@]}" update || true # a release that has left the mirror does not hide the others
  while read -r package; do
    release=${package#linux-image-}
    # From 6.19 on the image and its modules have packages of their own, and some are missing in the mirror.
    mapfile -t packages < <(apt-cache "${options[@]}" depends "$package" |
      awk -v release="$release" '$2 ~ "^<?linux-(binary|modules)-" && index($2, release) { gsub(/[<>]/, "", $2); print $2 }')
    apt-get "${options[@]}" download --print-uris "$package" "${packages[@]}" >/dev/null 2>&1 && break
    package=
  done < <(apt-cache "${options[@]}" pkgnames "linux-image-$series." | grep -- '-cloud-amd64$' | sort -rV)
  if [ -z "${package:-}" ]; then
    echo "artefact: Debian's mirror has no whole kernel $series in $(suites "$series")" >&2
    exit 3
  fi
  mkdir "$root/tree"
  (cd "$root" && apt-get "${options[@]}" download "$package" "${packages[@]}" && for deb in ./*.deb; do dpkg-deb -x "$deb" tree; done)
  version=$(apt-cache "${options[@]}" show "$package" | awk '/^Version:/ { print $2; exit }')
  mv "$root/tree/boot/vmlinuz-$release" "$to/vmlinuz" 2>/dev/null || mv "$root/tree/usr/lib/modules/$release/vmlinuz" "$to/vmlinuz"
  echo "$release" >"$to/release"
  echo "$package $version" >"$to/package"
  [ -d "$root/tree/lib" ] || ln -s usr/lib "$root/tree/lib"
  depmod -b "$root/tree" "$release"
  mkdir "$to/modules"
  local n=10
  for module in "${modules[@]}"; do
    { modprobe -d "$root/tree" -S "$release" --show-depends "$module" || echo "artefact: no module $module" >&2; } |
      awk '$1 == "insmod" { print $2 }'
  done | awk '!seen[$0]++' | while read -r module; do
    cp "$module" "$to/modules/$n-${module##*/}"
    n=$((n + 1))
  done
  find "$to/modules" -name '*.xz' -exec xz -d {} +
  rm -rf "$root"
}

# The image gets the tag, and the programs get the version, previous: neither may be left after an upgrade.
make_previous() {
  local commit=3e23fdc8dc1af16129f2cf54a00e672f97008160 arch tree=$1/tree created
  git cat-file -e "$commit^{commit}" 2>/dev/null || {
    echo "artefact: the history does not go back to $commit: get it with git fetch --unshallow" >&2
    exit 3
  }
  arch=$(go env GOARCH)
  created=$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ "$commit")
  mkdir -p "$tree" "$1/bin/cni"
  git archive "$commit" | tar -x -C "$tree"
  nice make -C "$tree" --no-print-directory image IMAGE=ghcr.io/halfclose/halfclose:previous \
    VERSION=previous COMMIT="$commit" CREATED="$created" PLATFORMS="linux/$arch"
  mv "$tree/dist/halfclose-linux-$arch" "$1/bin/halfclose"
  mv "$tree/dist/halfclose-cni-linux-$arch" "$1/bin/cni/halfclose"
  mv "$tree/dist/halfclose-image.tar" "$1/image.tar"
  mv "$tree/deploy/kubernetes/chart" "$tree/deploy/systemd" "$1/"
  rm -rf "$tree"
}

make=make_${name%%-*}
key=$({
  declare -f debian "$make"
  [ "$make" != make_kernel ] || declare -p modules
  go env GOVERSION GOARCH
  [ ! -d "tools/$name" ] || cat "tools/$name"/*
} | sha256sum | cut -c -16)
place=$cache/$name-$key

mkdir -p "$cache"
exec 9>"$cache/$name.lock"
flock 9 # wait for another process that builds the same
if [ ! -d "$place" ]; then
  from=$SECONDS
  echo "artefact: building $name, once" >&2
  rm -rf "$cache/$name-"*.part
  mkdir "$place.part"
  "$make" "$place.part" >&2
  mv "$place.part" "$place" # an interrupted build leaves nothing at this path
  echo "artefact: built $name in $((SECONDS - from))s" >&2
fi
echo "$place"
