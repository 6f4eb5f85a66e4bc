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
  name: {{ include "halfclose.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "halfclose.labels" . | nindent 4 }}
spec:
  selector:
    matchLabels:
      {{- include "halfclose.selector" . | nindent 6 }}
  updateStrategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: {{ $uninstall | ternary "100%" .Values.maxUnavailable }}
  template:
    metadata:
      labels:
        app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
        {{- include "halfclose.selector" . | nindent 8 }}
        {{- with .Values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        kubectl.kubernetes.io/default-container: reaper
        {{- if not (semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version) }}
        container.apparmor.security.beta.kubernetes.io/reaper: unconfined
        {{- if .Values.doctor }}
        container.apparmor.security.beta.kubernetes.io/doctor: unconfined
        {{- end }}
        {{- end }}
        {{- with .Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      # The reaper recognizes the node's own network namespace because it runs in it, and leaves it alone. Also, it does not
      # wait for a pod network that does not exist yet.
      hostNetwork: true
      # The reaper finds the owners of sockets, asks peers through their descriptors, and opens paths like /proc/PID/ns/net.
      hostPID: true
      # No container uses the API server.
      serviceAccountName: {{ include "halfclose.fullname" . }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      priorityClassName: {{ .Values.priorityClassName }}
      # A stop saves the ages of the sockets, which takes less than a second. It removes nothing from the node's network:
      # pods that start in the gap are registered, and the next reaper finds them.
      terminationGracePeriodSeconds: 15
      securityContext:
        runAsUser: 0
        runAsGroup: 0
        seccompProfile: {type: RuntimeDefault}
        {{- with .Values.seLinuxOptions }}
        seLinuxOptions: {{ toJson . }}
        {{- end }}
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets: {{ toJson . }}
      {{- end }}
      {{- with .Values.nodeSelector }}
      nodeSelector: {{ toJson . }}
      {{- end }}
      {{- with .Values.affinity }}
      affinity: {{ toJson . }}
      {{- end }}
      tolerations: {{ toJson .Values.tolerations }}
      initContainers:
        {{- if $uninstall }}
        # The old pod with its watch has exited. The plugin stays: runtimes call it to delete the pods that it registered.
        - name: uninstall
          image: {{ include "halfclose.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          args:
            - uninstall
            {{- include "halfclose.cniArgs" . | nindent 12 }}
          {{- include "halfclose.installer" . | nindent 10 }}
        {{- else }}
        # A mistake fails here, before the rollout continues with the next nodes.
        - name: install
          image: {{ include "halfclose.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          args:
            - install
            - {{ printf "--wait=%s" .Values.cni.wait | quote }}
            {{- include "halfclose.cniArgs" . | nindent 12 }}
            {{- include "halfclose.entryArgs" . | nindent 12 }}
          {{- include "halfclose.installer" . | nindent 10 }}
        {{- if .Values.doctor }}
        - name: doctor
          image: {{ include "halfclose.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          args:
            - doctor
            {{- include "halfclose.cniArgs" . | nindent 12 }}
          {{- include "halfclose.reaper" . | nindent 10 }}
            - {name: cni-bin, mountPath: {{ .Values.cni.binDir | quote }}, readOnly: true}
            - {name: cni-conf, mountPath: {{ .Values.cni.confDir | quote }}, readOnly: true}
        {{- end }}
        {{- end }}
      containers:
        - name: reaper
          image: {{ include "halfclose.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          args:
            - reaper
            - --mode={{ .Values.mode }}
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
            - --metrics-address=:{{ .Values.metrics.port }}
            {{- end }}
          {{- if .Values.metrics.enabled }}
          ports:
            - {name: metrics, containerPort: {{ .Values.metrics.port }}, protocol: TCP}
          {{- end }}
          # The probes use the reaper's own unix socket: another process may listen on the node's ports, and metrics may be off.
          startupProbe:
            exec: {command: [halfclose, health, --live]}
            periodSeconds: 1
            timeoutSeconds: 5
            failureThreshold: 30
          readinessProbe:
            exec: {command: [halfclose, health]}
            periodSeconds: 15
            timeoutSeconds: 5
          livenessProbe:
            exec: {command: [halfclose, health, --live]}
            periodSeconds: 30
            timeoutSeconds: 10
          resources: {{ toJson .Values.reaper.resources }}
          {{- include "halfclose.reaper" . | nindent 10 }}
            # libcni's cache and the networks, for the pods that were running before; and the plugin, for halfclose doctor.
            - {name: cni-cache, mountPath: /var/lib/cni, readOnly: true}
            - {name: cni-conf, mountPath: {{ .Values.cni.confDir | quote }}, readOnly: true}
            - {name: cni-bin, mountPath: {{ .Values.cni.binDir | quote }}, readOnly: true}
        {{- if not $uninstall }}
        - name: watch
          image: {{ include "halfclose.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          args:
            - install
            - --watch
            - --log-format={{ .Values.reaper.logFormat }}
            {{- include "halfclose.cniArgs" . | nindent 12 }}
            {{- include "halfclose.entryArgs" . | nindent 12 }}
          {{- include "halfclose.installer" . | nindent 10 }}
        {{- end }}
      volumes:
        - {name: run, hostPath: {path: /run/halfclose, type: DirectoryOrCreate}}
        - {name: lib, hostPath: {path: /var/lib/halfclose, type: DirectoryOrCreate}}
        - {name: cni-bin, hostPath: {path: {{ .Values.cni.binDir | quote }}, type: DirectoryOrCreate}}
        - {name: cni-conf, hostPath: {path: {{ .Values.cni.confDir | quote }}, type: DirectoryOrCreate}}
        - {name: cni-cache, hostPath: {path: /var/lib/cni, type: DirectoryOrCreate}}
        {{- range $i, $dir := include "halfclose.netnsDirs" . | fromJsonArray }}
        - {name: netns-{{ $i }}, hostPath: {path: {{ $dir | quote }}, type: DirectoryOrCreate}}
        {{- end }}
{{- end -}}
{{- end -}}
