{{- define "peakgate.labels" -}}
app.kubernetes.io/name: peakgate
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "peakgate.selector" -}}
app.kubernetes.io/name: peakgate
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "peakgate.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* The pod of a role. An edge and a worker are the same program with another --role. */ -}}
{{- define "peakgate.pod" -}}
{{- $root := .root }}
{{- $role := .role }}
{{- $values := .values }}
metadata:
  labels:
    {{- include "peakgate.labels" (dict "root" $root "role" $role) | nindent 4 }}
  annotations:
    # A change of the policies is a new rollout.
    checksum/policies: {{ $root.Values.policies | sha256sum }}
    {{- with $root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ $root.Release.Name }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add $root.Values.drain.preStop $root.Values.drain.grace $root.Values.drain.timeout 5 }}
  {{- with $root.Values.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile: { type: RuntimeDefault }
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: topology.kubernetes.io/zone
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "peakgate.selector" (dict "root" $root "role" $role) | nindent 10 }}
      matchLabelKeys: [pod-template-hash]
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "peakgate.selector" (dict "root" $root "role" $role) | nindent 10 }}
      matchLabelKeys: [pod-template-hash]
  containers:
    - name: peakgate
      image: {{ include "peakgate.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [serve]
      ports:
        - { name: http, containerPort: 8080 }
        - { name: admin, containerPort: 9090 }
      env:
        - { name: PEAKGATE_ROLE, value: {{ $role }} }
        - { name: PEAKGATE_WORKERS, value: {{ $values.workers | quote }} }
        - { name: PEAKGATE_CONFIG, value: /etc/peakgate/peakgate.toml }
        - { name: PEAKGATE_DRAIN_GRACE, value: {{ $root.Values.drain.grace | quote }} }
        - { name: PEAKGATE_DRAIN_TIMEOUT, value: {{ $root.Values.drain.timeout | quote }} }
        - { name: PEAKGATE_ADMIN_HOST, value: "0.0.0.0" }
        - { name: PEAKGATE_ADMIN_TOKEN_FILE, value: /run/secrets/peakgate/admin-token }
        - { name: PEAKGATE_METRICS_TOKEN_FILE, value: /run/secrets/peakgate/metrics-token }
        - { name: PEAKGATE_KEY_FILE, value: /run/secrets/peakgate/keys.toml }
        - name: PEAKGATE_STORE_URL
          valueFrom: { secretKeyRef: { name: {{ $root.Values.secret }}, key: store-url } }
        {{- range $name, $value := $root.Values.settings }}
        - { name: PEAKGATE_{{ $name | upper }}, value: {{ $value | quote }} }
        {{- end }}
      startupProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 2
        failureThreshold: 60
      readinessProbe:
        httpGet: { path: /readyz, port: http }
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 1
      livenessProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      lifecycle:
        preStop: { sleep: { seconds: {{ $root.Values.drain.preStop }} } }
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: { drop: [ALL] }
      volumeMounts:
        - { name: data, mountPath: /data }
        - { name: policies, mountPath: /etc/peakgate, readOnly: true }
        - { name: secrets, mountPath: /run/secrets/peakgate, readOnly: true }
  volumes:
    # The index of the search, the log of acts, sockets: nothing that must outlive the pod.
    - { name: data, emptyDir: { sizeLimit: 2Gi } }
    - { name: policies, configMap: { name: {{ $root.Release.Name }}-policies } }
    - { name: secrets, secret: { secretName: {{ $root.Values.secret }}, defaultMode: 0440 } }
{{- end }}
