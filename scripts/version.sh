#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Prints the version of the working tree, without the v of its tag: version.sh
#
# At a tag without changes it is the tag's. Elsewhere it is a pre-release of the chart's version, which is that of the next
# release: 0.1.0-dev.g0123456789ab, with .dirty after changes, and 0.1.0-dev without git. No + is in it, so that it is
# a version for Go, Helm, Debian and RPM, and a tag for an image.
set -euo pipefail
cd "$(dirname "$0")/.."

next=$(awk '$1 == "version:" { gsub(/"/, "", $2); print $2 }' deploy/kubernetes/chart/Chart.yaml)
# In an unpacked archive, git would describe a repository around it.
if [ "$(git rev-parse --show-toplevel 2>/dev/null)" != "$(pwd -P)" ]; then
  echo "$next-dev"
  exit
fi
commit=$(git describe --match= --always --abbrev=12 --dirty)
if tag=$(git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null) && [[ $commit != *-dirty ]]; then
  echo "${tag#v}"
else
  echo "$next-dev.g${commit/-/.}"
fi
