{{/*
Copyright The halfclose Authors
SPDX-License-Identifier: Apache-2.0

The DaemonSet. If .uninstall is true, it removes the entry from each node's network.
*/}}
{{- define "halfclose.daemonset" -}}
{{- $uninstall := .uninstall -}}
{{- with .root -}}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  {{- include "halfclose.metadata" (dict "root" . "name" (include "halfclose.fullname" .) "annotations" .Values.daemonSetAnnotations) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "halfclose.selector" . | nindent 6 }}
  {{- if $uninstall }}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 100%}}
  {{- else if eq .Values.updateStrategy.type "OnDelete" }}
  updateStrategy: {type: OnDelete}
  {{- else }}
  updateStrategy:
    {{- toYaml .Values.updateStrategy | nindent 4 }}
  {{- end }}
  revisionHistoryLimit: {{ int64 .Values.revisionHistoryLimit }}
  template:
    metadata:
      labels:
        {{- $labels := dict "app.kubernetes.io/version" .Chart.AppVersion }}
        {{- merge (include "halfclose.selector" . | fromYaml) $labels .Values.podLabels .Values.commonLabels | toYaml | nindent 8 }}
      # No checksum of the policy: the reaper follows the file, so that a change restarts nothing.
      annotations:
        {{- $annotations := merge (dict "kubectl.kubernetes.io/default-container" "reaper") .Values.podAnnotations }}
        {{- $unconfined := .Values.doctor | ternary (list "reaper" "doctor") (list "reaper") }}
        {{- include "halfclose.nodePodAnnotations" (dict "root" . "unconfined" $unconfined "annotations" $annotations) | nindent 8 }}
    spec:
      # The reaper recognizes the node's own network namespace because it runs in it, and leaves it alone. Also, it does not
      # wait for a pod network that does not exist yet.
      hostNetwork: true
      # The reaper finds the owners of sockets, asks peers through their descriptors, and opens paths like /proc/PID/ns/net.
      hostPID: true
      {{- include "halfclose.nodePod" . | nindent 6 }}
      initContainers:
        {{- if .Values.seccomp.enabled }}
        {{- include "halfclose.seccomp" . | nindent 8 }}
        {{- end }}
        {{- if $uninstall }}
        # The old pod with its watch has exited. The plugin stays: runtimes call it to delete the pods that it registered.
        - name: uninstall
          {{- include "halfclose.ownImage" . | nindent 10 }}
          args:
            - uninstall
            {{- include "halfclose.cniArgs" . | nindent 12 }}
          {{- include "halfclose.installer" . | nindent 10 }}
        {{- else }}
        # A mistake fails here, before the rollout continues with the next nodes.
        - name: install
          {{- include "halfclose.ownImage" . | nindent 10 }}
          args:
            - install
            - {{ printf "--wait=%s" .Values.cni.wait | quote }}
            {{- include "halfclose.cniArgs" . | nindent 12 }}
            {{- include "halfclose.entryArgs" . | nindent 12 }}
          {{- include "halfclose.installer" . | nindent 10 }}
        {{- if .Values.doctor }}
        - name: doctor
          {{- include "halfclose.ownImage" . | nindent 10 }}
          {{- include "halfclose.doctor" . | nindent 10 }}
        {{- end }}
        {{- end }}
      containers:
        - name: reaper
          {{- include "halfclose.ownImage" . | nindent 10 }}
          args:
            - reaper
            - --mode={{ .Values.mode }}
            - --policy-file=/etc/halfclose/policy.yaml
            {{- with .Values.reaper }}
            - --finder={{ .finder }}
            - --bpf-sockets={{ int64 .bpfSockets }}
            - --min-grace={{ .minGrace }}
            - --adopt={{ .adopt }}
            - --sample={{ .sample }}
            - --cpu-budget={{ .cpuBudget }}
            - --max-destroys-per-second={{ int64 .maxDestroysPerSecond }}
            - --max-asks-per-second={{ int64 .maxAsksPerSecond }}
            - --ask-cpu-budget={{ .askCPUBudget }}
            - --log-level={{ .logLevel }}
            - --log-format={{ .logFormat }}
            {{- end }}
            - {{ printf "--cni-conf-dir=%s" .Values.cni.confDir | quote }}
            {{- if .Values.metrics.enabled }}
            - {{ printf "--metrics-address=%s:%v" (include "halfclose.metricsHost" .) .Values.metrics.port | quote }}
            {{- end }}
            {{- range .Values.reaper.extraArgs }}
            - {{ . | quote }}
            {{- end }}
          {{- with include "halfclose.reaperEnv" . | trim }}
          env:
            {{- . | nindent 12 }}
          {{- end }}
          {{- if .Values.metrics.enabled }}
          ports:
            - {name: metrics, containerPort: {{ .Values.metrics.port }}, protocol: TCP}
          {{- end }}
          # The probes use the reaper's own unix socket: another process may listen on the node's ports, and metrics may be off.
          # A restart gives no reaper the privileges that it lacks, which only readiness requires.
          startupProbe:
            exec: {command: [halfclose, health, --live]}
            {{- toYaml .Values.reaper.startupProbe | nindent 12 }}
          readinessProbe:
            exec: {command: [halfclose, health]}
            {{- toYaml .Values.reaper.readinessProbe | nindent 12 }}
          livenessProbe:
            exec: {command: [halfclose, health, --live]}
            {{- toYaml .Values.reaper.livenessProbe | nindent 12 }}
          resources: {{ toJson .Values.reaper.resources }}
          {{- include "halfclose.reaper" . | nindent 10 }}
            # libcni's cache and the networks, for the pods that were running before; and the plugin, for halfclose doctor.
            - {name: cni-cache, mountPath: /var/lib/cni, readOnly: true}
            - {name: cni-conf, mountPath: {{ .Values.cni.confDir | quote }}, readOnly: true}
            - {name: cni-bin, mountPath: {{ .Values.cni.binDir | quote }}, readOnly: true}
            {{- with .Values.reaper.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
        {{- if not $uninstall }}
        - name: watch
          {{- include "halfclose.ownImage" . | nindent 10 }}
          args:
            - install
            - --watch
            - --log-format={{ .Values.reaper.logFormat }}
            {{- include "halfclose.cniArgs" . | nindent 12 }}
            {{- include "halfclose.entryArgs" . | nindent 12 }}
          {{- include "halfclose.installer" . | nindent 10 }}
        {{- end }}
        {{- with .Values.extraContainers }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      volumes:
        {{- include "halfclose.volumes" . | nindent 8 }}
        {{- with .Values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end -}}
{{- end -}}
