#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Writes the licences of programs into a directory, our own and THIRD_PARTY_NOTICES, and the list licenses.json beside it:
# notices.sh DIR "OS/ARCH..." PROGRAM'S-DIRECTORY...
set -euo pipefail
dir=$(realpath -m "$1")
read -ra platforms <<<"$2"
shift 2
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

args=()
for platform in "${platforms[@]}"; do args+=(-platform "$platform"); done
for program in "$@"; do args+=(-package "$PWD/$program"); done
rm -rf "$dir"
mkdir -p "$dir"
install -m 644 LICENSE LICENSES/*.txt "$dir"
cd tools/release
go run . notices "${args[@]}" -o "$dir/THIRD_PARTY_NOTICES" -licenses "$dir.json"
