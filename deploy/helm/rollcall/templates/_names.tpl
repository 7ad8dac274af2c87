{{- /* The name of everything: the release, if that is not the name of the chart already. */ -}}
{{- define "rollcall.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "rollcall.peers" -}}
{{- include "rollcall.name" . }}-peers
{{- end -}}

{{- define "rollcall.selector" -}}
app.kubernetes.io/name: rollcall
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "rollcall.labels" -}}
{{ include "rollcall.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "rollcall.etcdTls" -}}
{{- if and (eq .Values.store "etcd") .Values.etcd.tlsSecret -}}true{{- end -}}
{{- end -}}

{{- define "rollcall.etcdPassword" -}}
{{- if and (eq .Values.store "etcd") .Values.etcd.user -}}true{{- end -}}
{{- end -}}

{{- /* The settings of every server, and those of the values, which may not contradict them. */ -}}
{{- define "rollcall.settings" -}}
{{- $own := dict "host" .Values.host "grpc-port" 7400 "http-port" 7401 "store" .Values.store -}}
{{- if eq .Values.store "etcd" -}}
{{- $_ := set $own "etcd-endpoints" .Values.etcd.endpoints -}}
{{- $_ := set $own "etcd-prefix" .Values.etcd.prefix -}}
{{- if .Values.etcd.tlsSecret -}}
{{- $_ := set $own "etcd-ca" "/etc/rollcall/etcd/ca.crt" -}}
{{- if .Values.etcd.clientCert -}}
{{- $_ := set $own "etcd-cert" "/etc/rollcall/etcd/tls.crt" -}}
{{- $_ := set $own "etcd-key" "/etc/rollcall/etcd/tls.key" -}}
{{- end -}}
{{- end -}}
{{- if .Values.etcd.user -}}
{{- $_ := set $own "etcd-user" .Values.etcd.user -}}
{{- $_ := set $own "etcd-password-file" "/etc/rollcall/etcd-password/password" -}}
{{- end -}}
{{- else -}}
{{- $_ := set $own "data-dir" "/data" -}}
{{- end -}}
{{- if .Values.insecure -}}
{{- $_ := set $own "insecure" true -}}
{{- else -}}
{{- $_ := set $own "tls-cert" "/etc/rollcall/tls/tls.crt" -}}
{{- $_ := set $own "tls-key" "/etc/rollcall/tls/tls.key" -}}
{{- $_ := set $own "peer-ca" "/etc/rollcall/tls/ca.crt" -}}
{{- $_ := set $own "access" "/etc/rollcall/access/access.yaml" -}}
{{- if ne .Values.tls.clientCerts "none" -}}
{{- $_ := set $own "tls-client-certs" .Values.tls.clientCerts -}}
{{- $_ := set $own "tls-client-ca" "/etc/rollcall/tls/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := .Values.settings -}}
{{- if hasKey $own $name -}}
{{- fail (printf "settings.%s: the chart sets it by a value of its own" $name) -}}
{{- end -}}
{{- if has $name (list "node" "advertise" "settings") -}}
{{- fail (printf "settings.%s: it is another one for each server, and the chart sets it" $name) -}}
{{- end -}}
{{- $_ := set $own $name $value -}}
{{- end -}}
{{- toYaml $own -}}
{{- end -}}
