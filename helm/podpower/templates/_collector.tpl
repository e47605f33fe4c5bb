{{/* Clusters as a JSON list: name, name of the container, journal, and port of the metrics. */}}
{{- define "podpower.clusterNames" -}}
{{- $home := include "podpower.home" . -}}
{{- $port := 9100 -}}
{{- $found := list (dict "name" .Values.cluster.name "container" "collector" "journal" (printf "%s/journal" $home) "port" $port "inside" true) -}}
{{- range $place, $cluster := .Values.moreClusters -}}
{{- $journal := printf "%s/clusters/%s/journal" $home $cluster.name -}}
{{- if not $cluster.recording -}}
{{- $found = append $found (dict "name" $cluster.name "container" (printf "collector-%d" (add1 $place)) "journal" $journal "port" (add $port $place 1) "inside" (default false $cluster.in_cluster)) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The container of a collector without its name: (list . cluster). */}}
{{- define "podpower.collector" -}}
{{- $root := index . 0 -}}
{{- $cluster := index . 1 -}}
{{- $port := int $cluster.port -}}
{{ include "podpower.data.container" (list $root "rw") }}
  {{- /* In the scaled profile each collector has a Lease of this cluster. */}}
  {{- if or $cluster.inside (include "podpower.isScaled" $root) }}
  {{- include "podpower.token.mount" . | nindent 2 }}
  {{- end }}
  {{- if $root.Values.clustersSecret }}
  - {name: clusters-secret, mountPath: /etc/podpower/clusters, readOnly: true}
  {{- end }}
command: [podpower, collect, watch]
args:
  - --cluster={{ $cluster.name }}
  - {{ printf "--journal=%s" $cluster.journal | quote }}
  {{- if include "podpower.isScaled" $root }}
  - --lease={{ $root.Release.Namespace }}/{{ include "podpower.fullname" $root }}-{{ $cluster.container }}
  {{- end }}
  - "--metrics-host={{ $root.Values.listenAddress }}"
  - --metrics-port={{ $port }}
ports:
  - {name: metrics{{ ternary "" (printf "-%d" $port) (eq $port 9100) }}, containerPort: {{ $port }}}
startupProbe:
  httpGet: {path: /metrics, port: {{ $port }}}
  periodSeconds: 3
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /metrics, port: {{ $port }}}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 6
resources:
  {{- toYaml $root.Values.collector.resources | nindent 2 }}
{{- end -}}
