#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Renders the plain manifests from the chart, into deploy/kubernetes or the directory that is given: manifests.sh [DIR]
set -euo pipefail
cd "$(dirname "$0")/.."
helm=$(scripts/tool.sh helm)
dir=${1:-deploy/kubernetes}

# render FILE HELM'S-ARGUMENTS... leaves out what speaks of Helm: who applies a manifest does not use it.
render() {
  local file=$1
  shift
  {
    echo "# Rendered from the chart beside it by make manifests: change that."
    "$helm" template halfclose deploy/kubernetes/chart --namespace kube-system --kube-version 1.34.0 \
      --set uninstallHook.enabled=false "$@" | grep -vE '^# Source: |helm\.sh/chart: |managed-by: Helm$'
  } >"$dir/$file"
}

render halfclose.yaml
# The same DaemonSet, which takes everything back.
render halfclose-uninstall.yaml --set uninstall=true
