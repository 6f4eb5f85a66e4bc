#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Compiles the BPF programs, with the compiler of the committed object: generate.sh [check]
# With check it changes nothing, and fails if the committed files differ from the compiled ones.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

scripts/deps.sh gcc clang-14 llvm-14 libbpf-dev >&2

root=$PWD scratch=
if [ "${1-}" = check ]; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
fi

# compile DIRECTORY PACKAGE NAME SOURCE TYPE... compiles a source to NAME_bpfel.o and NAME_bpfel.go, with Go types.
#
# One object serves amd64 and arm64: no program uses a register, and both are little-endian. <asm/types.h> is in the
# directory of the host's architecture.
compile() {
  local dir=$root/$1 package=$2 name=$3 source=$4 types=()
  shift 4
  for type; do
    types+=(-type "$type")
  done
  local to=${scratch:-$dir}
  cd "$dir"
  GOPACKAGE=$package go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -output-dir "$to" \
    "${types[@]}" "$name" "$source" -- \
    -O2 -mcpu=v2 -Wall -Werror -I"$root/pkg/bpf/src" -idirafter "/usr/include/$(gcc -print-multiarch)" \
    "-ffile-prefix-map=$root=/src" "-ffile-prefix-map=$dir=."
  [ -n "$scratch" ] || return 0
  for file in "${name}_bpfel.go" "${name}_bpfel.o"; do
    cmp "$to/$file" "$file" || {
      echo "generate: $dir/$file differs from the compiled $source: run make generate" >&2
      exit 1
    }
  done
}

compile pkg/bpf bpf kernel src/halfclose.c snapshot descriptor owned_socket
compile test/bench main compare src/compare.c judged
