{{/*
What every process of the pipeline has: webserver, daemon, code location, collectors, prescore and runs in pods of their
own. Pods of the chart and dagster.yaml include the same templates, so that a run cannot differ from its code location.
*/}}

{{/* Variables that the chart itself sets, as JSON: name, and what to do instead of setting it. */}}
{{- define "podpower.settings.chosen" -}}
{{- $found := dict "DAGSTER_HOME" "the chart sets it" "HOME" "the chart sets it" -}}
{{- $values := dict
  "PODPOWER_HOME" "storage.url" "PODPOWER_MODEL_STORE" "storage.url" "PODPOWER_POSTGRES_URL" "postgres.existingSecret"
  "PODPOWER_MODEL_STORE_KEY_FILE" "platform.store.apiKeySecret" "PODPOWER_CLUSTERS" "moreClusters"
  "PODPOWER_CLUSTER" "cluster.name" "PODPOWER_TRAINING_RUNS" "dagster.pools.training"
  "PODPOWER_EXPORT_RUNS" "dagster.pools.export" "PODPOWER_FLEET_SENSOR" "prescore.enabled"
  "PODPOWER_DRAIN_SECONDS" "serving.drainSeconds" "PODPOWER_DOCS" "serving.docs"
  "PODPOWER_CORS_ORIGINS" "serving.corsOrigins" "PODPOWER_API_KEYS_FILE" "serving.apiKeysSecret"
  "PODPOWER_ADMISSION_DENY" "webhook.denyNamespaces" "PODPOWER_BUDGETS" "budgets" -}}
{{- range $name, $value := $values }}{{ $_ := set $found $name (printf "set %s instead" $value) }}{{ end -}}
{{- toJson $found -}}
{{- end -}}

{{/* envFrom of a container. */}}
{{- define "podpower.runtime.envFrom" -}}
- configMapRef: {name: {{ include "podpower.fullname" . }}-environment}
{{- range .Values.settingsSecrets }}
- secretRef: {name: {{ . | quote }}}
{{- end }}
{{- end -}}

{{/* env of a container: what is in Secrets under a key of its own. */}}
{{- define "podpower.runtime.env" -}}
- name: PODPOWER_POSTGRES_URL
  valueFrom: {secretKeyRef: {name: {{ include "podpower.postgresSecret" . | quote }}, key: url}}
{{- end -}}

{{/* volumeMounts of a container. */}}
{{- define "podpower.runtime.volumeMounts" -}}
- {name: clusters, mountPath: /etc/podpower/config, readOnly: true}
- {name: dagster, mountPath: /etc/dagster, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if .Values.cluster.prometheus.existingSecret }}
- {name: prometheus, mountPath: /etc/podpower/prometheus, readOnly: true}
{{- end }}
{{- if .Values.clustersSecret }}
- {name: clusters-secret, mountPath: /etc/podpower/clusters, readOnly: true}
{{- end }}
{{- if not .Values.storage.url }}
- {name: data, mountPath: /data}
{{- end }}
{{- end -}}

{{/* volumes of a pod. */}}
{{- define "podpower.runtime.volumes" -}}
- name: clusters
  configMap: {name: {{ include "podpower.fullname" . }}-clusters}
- name: dagster
  configMap: {name: {{ include "podpower.fullname" . }}-dagster}
- name: tmp
  emptyDir: {}
{{- with .Values.cluster.prometheus.existingSecret }}
- name: prometheus
  secret: {secretName: {{ . | quote }}}
{{- end }}
{{- with .Values.clustersSecret }}
- name: clusters-secret
  secret: {secretName: {{ . | quote }}}
{{- end }}
{{- if not .Values.storage.url }}
- name: data
  persistentVolumeClaim: {claimName: {{ .Values.storage.existingClaim | default (printf "%s-data" (include "podpower.fullname" .)) | quote }}}
{{- end }}
{{- end -}}

{{/* A container of the platform image that starts and ends runs, which are Jobs in the scaled profile. */}}
{{- define "podpower.launcher.container" -}}
{{ include "podpower.runtime.image" . }}
  {{- if include "podpower.isScaled" . }}
  {{- include "podpower.token.mount" . | nindent 2 }}
  {{- end }}
env:
  {{- include "podpower.runtime.env" . | nindent 2 }}
{{- end -}}

{{/* A container of the platform image, without name, command, ports, probes and resources; more of its env can follow. */}}
{{- define "podpower.runtime.container" -}}
{{ include "podpower.runtime.image" . }}
env:
  {{- include "podpower.runtime.env" . | nindent 2 }}
{{- end -}}

{{/* What both have; more mounts can follow. */}}
{{- define "podpower.runtime.image" -}}
{{ include "podpower.imageOf" (list . "platform") }}
securityContext:
  {{- include "podpower.containerSecurity" . | nindent 2 }}
envFrom:
  {{- include "podpower.runtime.envFrom" . | nindent 2 }}
volumeMounts:
  {{- include "podpower.runtime.volumeMounts" . | nindent 2 }}
{{- end -}}

{{/* The same for what is no part of Dagster: no database, no Prometheus. (list . "rw") writes the data, "ro" reads. */}}
{{- define "podpower.data.container" -}}
{{- $root := index . 0 -}}
{{ include "podpower.imageOf" (list $root "platform") }}
securityContext:
  {{- include "podpower.containerSecurity" $root | nindent 2 }}
envFrom:
  {{- include "podpower.runtime.envFrom" $root | nindent 2 }}
volumeMounts:
  - {name: clusters, mountPath: /etc/podpower/config, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  {{- if not $root.Values.storage.url }}
  - {name: data, mountPath: /data, readOnly: {{ eq (index . 1) "ro" }}}
  {{- end }}
{{- end -}}

{{/* The token of the pod's service account as a volume, for the one container that calls the API server. */}}
{{- define "podpower.token.volume" -}}
- name: token
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3607}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}]}
{{- end -}}

{{- define "podpower.token.mount" -}}
- {name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end -}}

{{/* run_launcher of dagster.yaml in the scaled profile: a run has what its code location has. */}}
{{- define "podpower.runLauncher" -}}
module: podpower_assets.pods
class: PodRunLauncher
config:
  job_namespace: {{ .Release.Namespace | quote }}
  service_account_name: {{ include "podpower.fullname" . }}-run
  instance_config_map: {{ include "podpower.fullname" . }}-dagster
  dagster_home: /etc/dagster
  load_incluster_config: true
  job_image: {{ include "podpower.image" (list . "platform") | quote }}
  image_pull_policy: {{ .Values.images.pullPolicy }}
  {{- with .Values.images.pullSecrets }}
  image_pull_secrets:
    {{- range . }}
    - {name: {{ . | quote }}}
    {{- end }}
  {{- end }}
  steps_in_pods: {{ .Values.runs.stepsInPods }}
  training_resources:
    {{- toYaml .Values.runs.trainingResources | nindent 4 }}
  run_k8s_config:
    container_config:
      securityContext:
        {{- include "podpower.containerSecurity" . | nindent 8 }}
      envFrom:
        {{- include "podpower.runtime.envFrom" . | nindent 8 }}
      env:
        {{- include "podpower.runtime.env" . | nindent 8 }}
      volumeMounts:
        {{- include "podpower.runtime.volumeMounts" . | nindent 8 }}
      resources:
        {{- toYaml .Values.runs.resources | nindent 8 }}
    pod_template_spec_metadata:
      labels:
        {{- include "podpower.labels" (list . "run") | nindent 8 }}
    pod_spec_config:
      enableServiceLinks: false
      securityContext:
        {{- include "podpower.podSecurity" .Values.users.podpower | nindent 8 }}
      volumes:
        {{- include "podpower.runtime.volumes" . | nindent 8 }}
      {{- with include "podpower.placement" .Values.runs | trim }}
      {{- . | nindent 6 }}
      {{- end }}
    job_spec_config:
      # A pod that outlives its run does not stay for ever.
      activeDeadlineSeconds: {{ add .Values.dagster.maxRuntimeSeconds .Values.dagster.startTimeoutSeconds 600 }}
      ttlSecondsAfterFinished: {{ int64 .Values.runs.keepFinishedSeconds }}
      backoffLimit: 0
{{- end -}}
