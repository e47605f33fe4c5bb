{{/* from of an ingress rule: the given peers, else every pod of the cluster. */}}
{{- define "podpower.peers" -}}
from:
  {{- if . }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  - namespaceSelector: {}
  {{- end }}
{{- end -}}

{{/* Egress of what predicts: names, and the platform pod that hands out models. */}}
{{- define "podpower.predicting.egress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
- ports: [{port: 8000}]
  to:
    - podSelector:
        matchLabels:
          {{- include "podpower.selector" (list . "platform") | nindent 10 }}
{{- end -}}
