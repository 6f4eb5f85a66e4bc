#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Renders the plain manifests from the chart, into deploy/kubernetes or DIR: manifests.sh [DIR]
set -euo pipefail
cd "$(dirname "$0")/.."
helm=$(scripts/tool.sh helm)
dir=${1:-deploy/kubernetes}

# render FILE HELM'S-ARGUMENTS... renders one manifest, without the lines that only Helm needs.
render() {
  local file=$1
  shift
  {
    echo "# Rendered from the chart beside it by make manifests: change that."
    "$helm" template halfclose deploy/kubernetes/chart --namespace kube-system --kube-version 1.34.0 \
      --skip-tests --set uninstallHook.enabled=false "$@" | grep -vE '^# Source: |helm\.sh/chart: |managed-by: Helm$'
  } >"$dir/$file"
}

render halfclose.yaml
# The same DaemonSet, which removes the entry from each node.
render halfclose-uninstall.yaml --set uninstall=true
