#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Checks code, module file and scripts: lint.sh [golangci-lint run's arguments]
set -euo pipefail
cd "$(dirname "$0")/.."

status=0

if ! go mod tidy -diff >/dev/null; then
  echo "lint: go.mod or go.sum is not tidy: run go mod tidy" >&2
  status=1
fi

for script in scripts/*.sh .ci/run; do
  bash -n "$script" || status=1
done
if command -v shellcheck >/dev/null; then
  shellcheck scripts/*.sh .ci/run || status=1
else
  echo "lint: shellcheck is not installed, the scripts were only parsed" >&2
fi

lint=$(scripts/tool.sh golangci-lint)
"$lint" run "$@" || status=1

exit $status
