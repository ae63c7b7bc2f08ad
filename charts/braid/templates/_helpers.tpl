{{/* The chart's name in labels. */}}
{{- define "braid.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The beginning of all names; short enough for what is put behind it. */}}
{{- define "braid.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "braid.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "braid.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The operator's Deployment and what belongs to it. */}}
{{- define "braid.operator" -}}
{{- include "braid.fullname" . }}-operator
{{- end -}}

{{/* The ClusterRole of workers. */}}
{{- define "braid.workerRole" -}}
{{- include "braid.fullname" . }}-worker
{{- end -}}

{{- define "braid.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "braid.operator" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The operator as the API server knows it. */}}
{{- define "braid.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "braid.serviceAccount" . }}
{{- end -}}

{{- define "braid.labels" -}}
app.kubernetes.io/name: {{ include "braid.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: braid
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What never changes of the operator's pods. */}}
{{- define "braid.selector" -}}
app.kubernetes.io/name: {{ include "braid.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* The reference of an image: (list registry image appVersion). */}}
{{- define "braid.image" -}}
{{- $registry := index . 0 -}}
{{- $image := index . 1 -}}
{{- $path := ternary $image.repository (printf "%s/%s" (trimSuffix "/" $registry) $image.repository) (empty $registry) -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $path $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $path (default (index . 2) $image.tag) -}}
{{- end -}}
{{- end -}}
