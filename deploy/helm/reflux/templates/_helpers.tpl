{{- define "reflux.name" -}}
{{- printf "%s" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "reflux.labels" -}}
app.kubernetes.io/name: reflux
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "reflux.scheme" -}}
{{- if .Values.tls.secret -}}HTTPS{{- else -}}HTTP{{- end -}}
{{- end -}}

{{- define "reflux.check" -}}
{{- if not .Values.keys.secret -}}
{{- fail "keys.secret is needed: the name of a Secret with keys.json (make one with `reflux keys create`)" -}}
{{- end -}}
{{- if not (or .Values.tls.secret .Values.tls.elsewhere) -}}
{{- fail "tls.secret is needed, or tls.elsewhere when a proxy in front encrypts" -}}
{{- end -}}
{{- end -}}
