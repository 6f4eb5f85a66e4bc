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

to=$PWD/pkg/bpf
if [ "${1-}" = check ]; then
  to=$(mktemp -d)
  trap 'rm -rf "$to"' EXIT
fi

# One object serves amd64 and arm64: no program uses a register, and both are little-endian. <asm/types.h> is in the
# directory of the host's architecture.
cd pkg/bpf
GOPACKAGE=bpf go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -output-dir "$to" \
  -type snapshot -type descriptor -type owned_socket kernel src/halfclose.c -- \
  -O2 -mcpu=v2 -Wall -Werror -idirafter "/usr/include/$(gcc -print-multiarch)" "-ffile-prefix-map=$PWD=."

if [ "${1-}" = check ]; then
  for file in kernel_bpfel.go kernel_bpfel.o; do
    cmp "$to/$file" "$file" || {
      echo "generate: pkg/bpf/$file differs from the compiled pkg/bpf/src: run make generate" >&2
      exit 1
    }
  done
fi
