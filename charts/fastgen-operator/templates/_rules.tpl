{{/*
What the operator may do where it looks after models, and why. tests/cluster/test_chart_rights.py takes each right away
and shows what breaks.
*/}}
{{- define "fastgen.rules" -}}
# The models themselves: seen, their status written, their replicas scaled.
- apiGroups: [fastgen.dev]
  resources: [fastgendeployments]
  verbs: [list, watch]
- apiGroups: [fastgen.dev]
  resources: [fastgendeployments/status, fastgendeployments/scale]
  verbs: [patch]
# Where the API server enforces it (OpenShift does), who makes children that hold up their owner's deletion needs this.
- apiGroups: [fastgen.dev]
  resources: [fastgendeployments/finalizers]
  verbs: [update]
# What is made for a model. `create` belongs to `patch`: applying makes what is not there.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts, persistentvolumeclaims]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [list, watch, create, patch, delete]
# Pods are seen, never written. Balancers may see them too, and nobody can grant what he does not have.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}
