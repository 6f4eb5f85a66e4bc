#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Checks the modules with Go code of our own for known vulnerabilities in functions that they call. govulncheck fetches
# its database from https://vuln.go.dev.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

check=$(scripts/tool.sh govulncheck)
status=0
while read -r module; do
  directory=$(dirname "$module")
  [ -n "$(git ls-files "$directory/*.go")" ] || continue
  echo "vulncheck: $directory"
  (cd "$directory" && "$check" ./...) || status=1
done < <(git ls-files '*go.mod' | sort)
exit $status
