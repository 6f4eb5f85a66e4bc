#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Checks code, module files, scripts and words: lint.sh [golangci-lint run's arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
export HOME=${HOME-~} # where the go command keeps its caches

status=0

for module in . cluster tools/*/ test/e2e/runtimes; do
  [ -e "$module/go.mod" ] || continue # a package of the main module
  if ! why=$(cd "$module" && go mod tidy -diff 2>&1); then
    head -n 20 <<<"$why" >&2
    echo "lint: go.mod or go.sum in $module is not tidy: run go mod tidy there" >&2
    status=1
  fi
done

scripts=(scripts/*.sh test/kind/node/usr/local/bin/* .ci/run)
for script in "${scripts[@]}"; do
  bash -n "$script" || status=1
done
if command -v shellcheck >/dev/null; then
  shellcheck "${scripts[@]}" || status=1
else
  echo "lint: shellcheck is not installed, the scripts were only parsed" >&2
fi

# Workflows, and by shellcheck the commands in them. tools/workflows checks what actionlint does not.
"$(scripts/tool.sh actionlint)" || status=1

go run ./tools/prose || status=1
scripts/licences.sh || status=1

lint=$(scripts/tool.sh golangci-lint)
"$lint" run "$@" || status=1
for module in cluster tools/curves tools/image tools/release tools/chart test/e2e/runtimes; do # the modules with Go code
  (cd "$module" && "$lint" run "$@") || status=1
done

# The packages that kubectl-halfclose shares compile on its users' machines too. To build its libraries for them takes minutes,
# which make release does.
for os in darwin windows; do
  GOOS=$os go build ./pkg/printer ./pkg/flagvalue || status=1
done

exit $status
