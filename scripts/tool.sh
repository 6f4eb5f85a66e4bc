#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Prints the path of a development tool at the version that tools/dev/go.mod pins, building it the first
# time: tool.sh NAME
set -euo pipefail
cd "$(dirname "$0")/../tools/dev"
export HOME=${HOME-~} # where the go command keeps its caches

name=$1
package=$(go list tool | grep -E "/$name\$") || {
  echo "tool: $name is not among the tools of tools/dev/go.mod" >&2
  exit 1
}
version=$(go list -f '{{.Module.Version}}' "$package")
bin=$(cd ../.. && pwd)/bin/tools/$name-$version
if [ ! -x "$bin" ]; then
  echo "tool: building $name $version, once" >&2
  # Built beside its place and moved there: a build that was cut short is no tool.
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$bin.$$" "$package"
  mv "$bin.$$" "$bin"
fi
echo "$bin"
