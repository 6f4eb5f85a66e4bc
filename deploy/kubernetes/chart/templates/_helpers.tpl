{{/*
Copyright The halfclose Authors
SPDX-License-Identifier: Apache-2.0
*/}}

{{- define "halfclose.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of everything: the release's, with the chart's if that is not in it. */}}
{{- define "halfclose.fullname" -}}
{{- $name := include "halfclose.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "halfclose.selector" -}}
app.kubernetes.io/name: {{ include "halfclose.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "halfclose.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "halfclose.selector" . }}
{{- end -}}

{{- define "halfclose.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where the node has plugins and networks. */}}
{{- define "halfclose.cniArgs" -}}
- {{ printf "--cni-bin-dir=%s" .Values.cni.binDir | quote }}
- {{ printf "--cni-conf-dir=%s" .Values.cni.confDir | quote }}
{{- end -}}

{{/* What the entry in the node's network says. The reaper of this DaemonSet is the only one: the plugin starts none. */}}
{{- define "halfclose.entryArgs" -}}
- --reaper=external
{{- $flags := dict "mode" "mode" "probeAfter" "probe-after" "probeCount" "probe-count" "probeInterval" "probe-interval"
  "grace" "grace" "closeWaitGrace" "close-wait-grace" "finWait2Grace" "fin-wait2-grace" "pendingGrace" "pending-grace"
  "clock" "clock" "rules" "rules" "exempt" "exempt" "podOverrides" "pod-overrides" "failurePolicy" "failure-policy" }}
{{- range $key, $flag := $flags }}
{{- with index $.Values.policy $key }}
- {{ printf "--%s=%s" $flag (kindIs "string" . | ternary . (toJson .)) | quote }}
{{- end }}
{{- end }}
{{- if .Values.cni.dropIn }}
- --drop-in
{{- end }}
{{- end -}}

{{/* The installer writes root's files as root, which takes no capability. */}}
{{- define "halfclose.installer" -}}
resources: {{ toJson .Values.installer.resources }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]{{ with .Values.installer.capabilities }}, add: {{ toJson . }}{{ end }}}
volumeMounts:
  - {name: cni-bin, mountPath: {{ .Values.cni.binDir | quote }}}
  - {name: cni-conf, mountPath: {{ .Values.cni.confDir | quote }}}
{{- end -}}

{{/* Directories in which a runtime names namespaces. */}}
{{- define "halfclose.netnsDirs" -}}
{{- concat (list "/run/netns" "/var/run/netns") .Values.reaper.netnsDirs | uniq | toJson -}}
{{- end -}}

{{/* What the reaper has of the node, and of root. */}}
{{- define "halfclose.reaper" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL], add: {{ toJson .Values.reaper.capabilities }}}
  {{- if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}
  # Runtimes' AppArmor profile forbids access to the node's other processes, which finding owners and asking peers needs.
  appArmorProfile: {type: Unconfined}
  {{- end }}
volumeMounts:
  - {name: run, mountPath: /run/halfclose}
  - {name: lib, mountPath: /var/lib/halfclose}
  # Network namespaces that are mounted later appear here too. Without propagation their records would be inert.
  {{- range $i, $dir := include "halfclose.netnsDirs" . | fromJsonArray }}
  - {name: netns-{{ $i }}, mountPath: {{ $dir | quote }}, mountPropagation: HostToContainer, readOnly: true}
  {{- end }}
{{- end -}}

{{/* What Helm runs before it deletes the release. */}}
{{- define "halfclose.hook" }}
  labels:
    {{- include "halfclose.labels" . | nindent 4 }}
  annotations:
    helm.sh/hook: pre-delete
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
