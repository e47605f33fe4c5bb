{{/* What every pod that predicts has: the serving pods and the webhook. They hold no credentials of storage. */}}

{{- define "podpower.predicting.env" -}}
- {name: PODPOWER_MODEL_STORE, value: "http://{{ include "podpower.fullname" . }}-store:8000/store"}
- {name: PODPOWER_DRAIN_SECONDS, value: {{ .Values.serving.drainSeconds | quote }}}
- {name: HOME, value: /tmp}
{{- if not (hasKey .Values.settings "PODPOWER_LOG_FORMAT") }}
- {name: PODPOWER_LOG_FORMAT, value: json}
{{- end }}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- if .Values.platform.store.apiKeySecret }}
- {name: PODPOWER_MODEL_STORE_KEY_FILE, value: /etc/podpower/store/key}
{{- end }}
{{- if .Values.serving.apiKeysSecret }}
- {name: PODPOWER_API_KEYS_FILE, value: /etc/podpower/keys/keys}
{{- end }}
{{- end -}}

{{- define "podpower.predicting.volumeMounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.platform.store.apiKeySecret }}
- {name: store-key, mountPath: /etc/podpower/store, readOnly: true}
{{- end }}
{{- if .Values.serving.apiKeysSecret }}
- {name: keys, mountPath: /etc/podpower/keys, readOnly: true}
{{- end }}
{{- end -}}

{{- define "podpower.predicting.volumes" -}}
- name: tmp
  emptyDir: {}
{{- with .Values.platform.store.apiKeySecret }}
- name: store-key
  secret: {secretName: {{ . | quote }}, items: [{key: key, path: key}]}
{{- end }}
{{- with .Values.serving.apiKeysSecret }}
- name: keys
  secret: {secretName: {{ . | quote }}}
{{- end }}
{{- end -}}

{{- define "podpower.serving.env" -}}
{{ include "podpower.predicting.env" . }}
- {name: PODPOWER_DOCS, value: {{ ternary "on" "off" .Values.serving.docs | quote }}}
{{- with .Values.serving.corsOrigins }}
- {name: PODPOWER_CORS_ORIGINS, value: {{ join "," . | quote }}}
{{- end }}
{{- end -}}

{{/* Ready with a model, alive without: (list "port" "SCHEME"). */}}
{{- define "podpower.serving.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: {{ index . 0 }}, scheme: {{ index . 1 }}}
  periodSeconds: 2
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: {{ index . 0 }}, scheme: {{ index . 1 }}}
  periodSeconds: 3
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /healthz, port: {{ index . 0 }}, scheme: {{ index . 1 }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* The container that issues and renews the webhook's certificates, without its name; args are last. */}}
{{- define "podpower.webhook.certificates" -}}
{{- $fullname := include "podpower.fullname" . -}}
{{ include "podpower.imageOf" (list . "platform") }}
securityContext:
  {{- include "podpower.containerSecurity" . | nindent 2 }}
env:
  - {name: HOME, value: /tmp}
resources:
  {{- toYaml .Values.webhook.certificatesResources | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: tls, mountPath: /tls}
  {{- include "podpower.token.mount" . | nindent 2 }}
command: [podpower, webhook-certificates]
args:
  - --namespace={{ .Release.Namespace }}
  - --secret={{ $fullname }}-webhook
  - --service={{ $fullname }}-webhook
  - --webhook={{ include "podpower.clusterWide" (list .) }}
  - --out=/tls
{{- end -}}
