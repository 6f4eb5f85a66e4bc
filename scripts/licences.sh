#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Checks that every file has a licence, in its header or in REUSE.toml, and that LICENSES has the text of each licence and
# no other: licences.sh
set -euo pipefail
cd "$(dirname "$0")/.."

status=0
fail() {
  echo "licences: $*" >&2
  status=1
}

# list PATHSPEC... prints the files that are not ignored.
list() {
  git ls-files --cached --others --exclude-standard -- "$@" | while read -r file; do
    [ ! -f "$file" ] || echo "$file" # without those whose deletion is not committed
  done
}

# The paths of REUSE.toml mean the same to git.
mapfile -t covered < <(sed -n 's/^  "\(.*\)",$/:(glob)\1/p' REUSE.toml)

# A header is in the first 40 lines, in a template below its conditions: further down, the word may be part of a text.
while read -r file; do
  fail "$file has no line \"SPDX-License-Identifier: ...\" in its header: add it, or the path to REUSE.toml"
done < <(comm -23 <(list | sort) <(list "${covered[@]}" | sort) | xargs -d '\n' awk '
  FNR == 1 { if (file != "") print file; file = FILENAME }
  /SPDX-License-Identifier: / { file = ""; nextfile }
  FNR == 40 { nextfile }
  END { if (file != "") print file }')

# The identifiers of headers and of REUSE.toml.
used=$(list | xargs -d '\n' grep -hsoaE '^((#|//| ?[*]|/[*]|<!--|%) )?SPDX-License-Identifier(:| =) .*' |
  sed 's/.*Identifier[^ ]* *=* *//' | grep -oE '[A-Za-z0-9.-]+' | grep -vxE 'AND|OR|WITH' | sort -u)
texts=$(list 'LICENSES/*.txt' | sed 's|LICENSES/||; s|\.txt$||' | sort)
if [ "$used" != "$texts" ]; then
  fail "the licences in use (<) and the texts in LICENSES (>) differ:"
  diff <(echo "$used") <(echo "$texts") >&2 || true
fi
exit $status
