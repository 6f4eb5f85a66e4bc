#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Prints the path of a development tool at the version that a module below tools pins, building it on the first
# call: tool.sh NAME
set -euo pipefail
cd "$(dirname "$0")/../tools"
export HOME=${HOME-~} # where the go command keeps its caches

name=$1
module=$(grep -lE "^(tool)?[[:space:]]+[^ ]*/$name\$" ./*/go.mod) || {
  echo "tool: $name is not among the tools of a module below tools" >&2
  exit 1
}
cd "$(dirname "$module")"
package=$(go list tool | grep -E "/$name\$")
version=$(go list -f '{{.Module.Version}}' "$package")
bin=$(cd ../.. && pwd)/bin/tools/$name-$version
if [ ! -x "$bin" ]; then
  echo "tool: building $name $version, once" >&2
  # Built beside its final path and renamed: an interrupted build leaves nothing at that path.
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$bin.$$" "$package"
  mv "$bin.$$" "$bin"
fi
echo "$bin"
