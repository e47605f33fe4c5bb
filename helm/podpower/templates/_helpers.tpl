{{- define "podpower.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Beginning of every name; short enough for what is appended to it and to names of pods. */}}
{{- define "podpower.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "podpower.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of an object of a component: (list . "serving"). */}}
{{- define "podpower.labels" -}}
{{- $root := index . 0 -}}
{{ include "podpower.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: podpower
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels that select the pods of a component; they never change. */}}
{{- define "podpower.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "podpower.name" $root | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Metadata of an object of a component, named after it: (list . "serving"). */}}
{{- define "podpower.metadata" -}}
name: {{ include "podpower.fullname" (index . 0) }}-{{ index . 1 }}
namespace: {{ (index . 0).Release.Namespace | quote }}
labels:
  {{- include "podpower.labels" . | nindent 2 }}
{{- end -}}

{{/* Reference of an image: (list . "serving"). A digest counts before a tag. PostgreSQL is not of podpower's registry. */}}
{{- define "podpower.image" -}}
{{- $root := index . 0 -}}
{{- $images := $root.Values.images -}}
{{- $image := index $images (index . 1) -}}
{{- with ternary "" $images.registry (eq (index . 1) "postgres") }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{/* image and imagePullPolicy of a container: (list . "serving"). */}}
{{- define "podpower.imageOf" -}}
image: {{ include "podpower.image" . | quote }}
imagePullPolicy: {{ (index . 0).Values.images.pullPolicy }}
{{- end -}}

{{/* Fields of every pod: nothing runs as root, and only what calls the API server has a token: (list . "platform" true). */}}
{{- define "podpower.pod" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "podpower.fullname" $root }}-{{ index . 1 }}
automountServiceAccountToken: {{ index . 2 }}
enableServiceLinks: false
{{- with $root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  {{- $user := ternary $root.Values.users.postgres $root.Values.users.podpower (eq (index . 1) "postgres") }}
  {{- include "podpower.podSecurity" $user | nindent 2 }}
{{- end -}}

{{/* Security context of a pod whose containers have this user; 0 leaves it to the cluster. */}}
{{- define "podpower.podSecurity" -}}
runAsNonRoot: true
{{- with int64 . }}
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Security context of every container: Pod Security `restricted`, and a root that cannot be written. */}}
{{- define "podpower.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Placement of a pod, of the values that have it: .Values.platform. */}}
{{- define "podpower.placement" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "podpower.home" -}}
{{ .Values.storage.url | default "/data" | trimSuffix "/" }}
{{- end -}}

{{- define "podpower.isScaled" -}}
{{- if eq .Values.profile "scaled" }}true{{ end -}}
{{- end -}}

{{/* True where a CronJob makes the fleet summary. */}}
{{- define "podpower.prescores" -}}
{{- if and .Values.prescore.enabled (include "podpower.isScaled" .) }}true{{ end -}}
{{- end -}}

{{/* Secret with the key `url` of PostgreSQL. */}}
{{- define "podpower.postgresSecret" -}}
{{ coalesce .Values.postgres.existingSecret .Values.postgres.passwordSecret (printf "%s-postgres" (include "podpower.fullname" .)) }}
{{- end -}}

{{/* True where the chart runs PostgreSQL itself. */}}
{{- define "podpower.ownPostgres" -}}
{{- if not .Values.postgres.existingSecret }}true{{ end -}}
{{- end -}}

{{/* Name of an object of the whole cluster, which releases in other namespaces do not have: (list . "collector"), or
(list .). */}}
{{- define "podpower.clusterWide" -}}
{{- $root := index . 0 -}}
{{- concat (list (include "podpower.fullname" $root) $root.Release.Namespace) (rest .) | compact | join "-" -}}
{{- end -}}
