#!/usr/bin/env bash
# Copyright The halfclose Authors
# SPDX-License-Identifier: Apache-2.0
#
# Writes the PodMonitor of the chart and the configuration that the Prometheus operator generates for it, which tests run,
# into test/monitoring/operator. The first run builds the operator's generator for some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
helm=$(scripts/tool.sh helm)

cd test/monitoring/operator
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$helm" template halfclose ../../../deploy/kubernetes/chart --namespace kube-system --kube-version 1.34.0 \
  --set metrics.podMonitor.enabled=true --show-only templates/podmonitor.yaml |
  grep -vE '^(# Source: |---$)|helm\.sh/chart: ' >"$work/podmonitor.yaml"
go run . <"$work/podmonitor.yaml" >"$work/prometheus.yaml"
cp "$work"/*.yaml .
