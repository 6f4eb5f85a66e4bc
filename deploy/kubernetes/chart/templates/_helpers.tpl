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

{{/* toYaml writes names, and quotes each that YAML reads as a number or a boolean, such as 1e3. */}}
{{- define "halfclose.selector" -}}
app.kubernetes.io/name: {{ include "halfclose.name" . | toYaml }}
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
{{- end -}}

{{- define "halfclose.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "halfclose.selector" . }}
{{- end -}}

{{/*
The metadata of an object: (dict "root" $ "name" NAME), and optionally "labels" and "annotations", which win over the chart's
and the values', "namespace" (the release's), and "clusterwide" true for an object without one.
*/}}
{{- define "halfclose.metadata" -}}
name: {{ .name | toYaml }}
{{- if not .clusterwide }}
namespace: {{ .namespace | default .root.Release.Namespace | toYaml }}
{{- end }}
labels:
  {{- merge (dict) (.labels | default dict) (include "halfclose.labels" .root | fromYaml) .root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The labels of pods that are not the DaemonSet's, which would adopt pods with its labels: (dict "root" $ "name" NAME). */}}
{{- define "halfclose.otherLabels" -}}
{{- $own := dict "app.kubernetes.io/name" .name "app.kubernetes.io/instance" .root.Release.Name -}}
{{- merge $own .root.Values.commonLabels | toYaml -}}
{{- end -}}

{{/* The reference of an image: (dict "root" $ "image" VALUES), and "tag" for an image whose tag may be empty. */}}
{{- define "halfclose.image" -}}
{{- with .root.Values.global.imageRegistry | default .image.registry }}{{ . }}/{{ end -}}
{{ .image.repository }}
{{- with .image.digest }}@{{ . }}{{ else }}:{{ .image.tag | default .tag }}{{ end -}}
{{- end -}}

{{/* The image of halfclose, as the fields of a container. */}}
{{- define "halfclose.ownImage" -}}
image: {{ include "halfclose.image" (dict "root" . "image" .Values.image "tag" .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{/* The secrets of all pods. */}}
{{- define "halfclose.pullSecrets" -}}
{{- with concat .Values.global.imagePullSecrets .Values.imagePullSecrets | uniq -}}
imagePullSecrets: {{ toJson . }}
{{- end -}}
{{- end -}}

{{/* The fields of a container that runs kubectl, and of its pod's spec. */}}
{{- define "halfclose.kubectl" -}}
{{- with .Values.uninstallHook -}}
image: {{ include "halfclose.image" (dict "root" $ "image" .image) }}
imagePullPolicy: {{ .image.pullPolicy }}
resources: {{ toJson .resources }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "halfclose.kubectlPod" -}}
restartPolicy: Never
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- if not .Values.openshift.enabled }}
  # OpenShift gives each namespace its own user IDs.
  runAsUser: 65534
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
nodeSelector: {kubernetes.io/os: linux}
tolerations: {{ toJson .Values.tolerations }}
{{- with include "halfclose.pullSecrets" . }}
{{ . }}
{{- end }}
{{- end -}}

{{- define "halfclose.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "halfclose.fullname" .) "default") -}}
{{- end -}}

{{/* The fields of a pod that is allowed on the node as the DaemonSet's. */}}
{{- define "halfclose.nodePod" -}}
# No container uses the API server.
serviceAccountName: {{ include "halfclose.serviceAccount" . | toYaml }}
automountServiceAccountToken: false
enableServiceLinks: false
priorityClassName: {{ .Values.priorityClassName | toYaml }}
terminationGracePeriodSeconds: {{ int64 .Values.terminationGracePeriodSeconds }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with include "halfclose.pullSecrets" . }}
{{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toJson . }}
{{- end }}
tolerations: {{ toJson .Values.tolerations }}
{{- end -}}

{{/* The annotations of a pod that is allowed on the node as the DaemonSet's: (dict "root" $ "unconfined" CONTAINERS "annotations" OTHERS). */}}
{{- define "halfclose.nodePodAnnotations" -}}
{{- $own := dict -}}
{{- if not (semverCompare ">=1.30-0" .root.Capabilities.KubeVersion.Version) -}}
{{- range .unconfined -}}
{{- $_ := set $own (printf "container.apparmor.security.beta.kubernetes.io/%s" .) "unconfined" -}}
{{- end -}}
{{- end -}}
{{- merge .annotations $own .root.Values.commonAnnotations | toYaml -}}
{{- end -}}

{{/* The node's directories of plugins and networks. */}}
{{- define "halfclose.cniArgs" -}}
- {{ printf "--cni-bin-dir=%s" .Values.cni.binDir | quote }}
- {{ printf "--cni-conf-dir=%s" .Values.cni.confDir | quote }}
{{- end -}}

{{/*
The entry in the node's network. A pod keeps its values until it is recreated: everything else is in the policy file. The
reaper of this DaemonSet is the only one: the plugin starts none.
*/}}
{{- define "halfclose.entryArgs" -}}
- --reaper=external
- --failure-policy={{ .Values.cni.failurePolicy }}
- --pod-overrides={{ .Values.cni.podOverrides }}
{{- if .Values.cni.dropIn }}
- --drop-in
{{- end }}
{{- end -}}

{{/* The installer writes root's files as root, which takes no capability. */}}
{{- define "halfclose.installer" -}}
resources: {{ toJson .Values.installer.resources }}
securityContext:
  {{- $capabilities := dict "drop" (list "ALL") }}
  {{- with .Values.installer.capabilities }}
  {{- $_ := set $capabilities "add" . }}
  {{- end }}
  {{- $own := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" $capabilities }}
  {{- if and .Values.seccomp.enabled (not .Values.installer.securityContext.seccompProfile) }}
  {{- $_ := set $own "seccompProfile" (dict "type" "Localhost" "localhostProfile" "halfclose/installer.json") }}
  {{- end }}
  {{- mergeOverwrite $own .Values.installer.securityContext | toYaml | nindent 2 }}
volumeMounts:
  - {name: cni-bin, mountPath: {{ .Values.cni.binDir | quote }}}
  - {name: cni-conf, mountPath: {{ .Values.cni.confDir | quote }}}
{{- end -}}

{{/* Directories in which a runtime names namespaces. */}}
{{- define "halfclose.netnsDirs" -}}
{{- concat (list "/run/netns" "/var/run/netns") .Values.reaper.netnsDirs | uniq | toJson -}}
{{- end -}}

{{/* The rights and the node's directories of the reaper. */}}
{{- define "halfclose.reaper" -}}
securityContext:
  {{- $own := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true
    "capabilities" (dict "drop" (list "ALL") "add" .Values.reaper.capabilities) }}
  {{- if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}
  # A runtime's AppArmor profile forbids access to the node's other processes, which finding owners and asking peers needs.
  {{- $_ := set $own "appArmorProfile" (dict "type" "Unconfined") }}
  {{- end }}
  {{- if and .Values.seccomp.enabled (not .Values.reaper.securityContext.seccompProfile) }}
  {{- $_ := set $own "seccompProfile" (dict "type" "Localhost" "localhostProfile" "halfclose/reaper.json") }}
  {{- end }}
  {{- mergeOverwrite $own .Values.reaper.securityContext | toYaml | nindent 2 }}
volumeMounts:
  - {name: run, mountPath: /run/halfclose}
  - {name: lib, mountPath: /var/lib/halfclose}
  # A mount of its own, without subPath: the kubelet updates it in place, and the reaper trusts it as a ConfigMap's.
  - {name: policy, mountPath: /etc/halfclose, readOnly: true}
  # Network namespaces that are mounted later appear here too. Without propagation their records would be inert.
  {{- range $i, $dir := include "halfclose.netnsDirs" . | fromJsonArray }}
  - {name: netns-{{ $i }}, mountPath: {{ $dir | quote }}, mountPropagation: HostToContainer, readOnly: true}
  {{- end }}
{{- end -}}

{{/* The init container that writes the seccomp profiles for the containers after it. */}}
{{- define "halfclose.seccomp" -}}
- name: seccomp
  {{- include "halfclose.ownImage" . | nindent 2 }}
  args: [seccomp, {{ printf "--write=%s" .Values.seccomp.dir | quote }}]
  resources: {{ toJson .Values.installer.resources }}
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
  volumeMounts:
    - {name: seccomp, mountPath: {{ .Values.seccomp.dir | quote }}}
{{- end -}}

{{/* The names that OpenShift has for the seccomp profiles of all pods, as JSON. */}}
{{- define "halfclose.seccompNames" -}}
{{- $names := list "runtime/default" -}}
{{- if .Values.seccomp.enabled -}}
{{- $names = concat $names (list "localhost/halfclose/installer.json" "localhost/halfclose/reaper.json") -}}
{{- end -}}
{{- range list .Values.podSecurityContext .Values.reaper.securityContext .Values.installer.securityContext -}}
{{- with .seccompProfile -}}
{{- if eq .type "Localhost" -}}
{{- $names = append $names (printf "localhost/%s" .localhostProfile) -}}
{{- else if eq .type "Unconfined" -}}
{{- $names = append $names "unconfined" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $names | uniq | toJson -}}
{{- end -}}

{{/* The volumes of halfclose.reaper, halfclose.installer and halfclose.seccomp. */}}
{{- define "halfclose.volumes" -}}
- {name: run, hostPath: {path: /run/halfclose, type: DirectoryOrCreate}}
- {name: lib, hostPath: {path: /var/lib/halfclose, type: DirectoryOrCreate}}
- {name: policy, configMap: {name: {{ include "halfclose.fullname" . }}-policy}}
- {name: cni-bin, hostPath: {path: {{ .Values.cni.binDir | quote }}, type: DirectoryOrCreate}}
- {name: cni-conf, hostPath: {path: {{ .Values.cni.confDir | quote }}, type: DirectoryOrCreate}}
- {name: cni-cache, hostPath: {path: /var/lib/cni, type: DirectoryOrCreate}}
{{- if .Values.seccomp.enabled }}
- {name: seccomp, hostPath: {path: {{ .Values.seccomp.dir | quote }}, type: DirectoryOrCreate}}
{{- end }}
{{- range $i, $dir := include "halfclose.netnsDirs" . | fromJsonArray }}
- {name: netns-{{ $i }}, hostPath: {path: {{ $dir | quote }}, type: DirectoryOrCreate}}
{{- end }}
{{- end -}}

{{/* The fields of a container that runs halfclose doctor: the reaper's. */}}
{{- define "halfclose.doctor" -}}
args:
  - doctor
  {{- include "halfclose.cniArgs" . | nindent 2 }}
resources: {{ toJson .Values.reaper.resources }}
{{ include "halfclose.reaper" . }}
  - {name: cni-bin, mountPath: {{ .Values.cni.binDir | quote }}, readOnly: true}
  - {name: cni-conf, mountPath: {{ .Values.cni.confDir | quote }}, readOnly: true}
{{- end -}}

{{/* The fields of a container that only asks the reaper, over its socket. */}}
{{- define "halfclose.asker" -}}
resources: {{ toJson .Values.installer.resources }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: run, mountPath: /run/halfclose, readOnly: true}
{{- end -}}
