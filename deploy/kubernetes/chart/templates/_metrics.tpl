{{/*
Copyright The halfclose Authors
SPDX-License-Identifier: Apache-2.0
*/}}

{{/*
The host part of the reaper's --metrics-address. Its brackets are for IPv6; Go accepts them around IPv4 too. The kubelet expands
$(HOST_IP). Without a choice, only a PodMonitor opens the port to more than the node itself.
*/}}
{{- define "halfclose.metricsHost" -}}
{{- $address := default (ternary "hostIP" "127.0.0.1" .Values.metrics.podMonitor.enabled) .Values.metrics.address -}}
[{{ eq $address "hostIP" | ternary "$(HOST_IP)" $address }}]
{{- end -}}

{{/* The environment of the reaper: the node's address, if it listens there, and the extra variables. */}}
{{- define "halfclose.reaperEnv" -}}
{{- if and .Values.metrics.enabled (contains "HOST_IP" (include "halfclose.metricsHost" .)) }}
- {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
{{- end }}
{{- with .Values.reaper.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
