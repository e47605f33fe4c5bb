"""Names of kinds: those of Kubernetes itself by API group, and well-known ones that run no pods."""

from typing import Final

from podpower.kubernetes.kinds import KINDS, WORKLOAD_KINDS


def _kinds_with_pods(group: str) -> tuple[str, ...]:
    return tuple(name for name in WORKLOAD_KINDS if KINDS[name].group == group)


# Kinds that run no pods, of every Kubernetes version that is in use, by group ("" is the core).
_WITHOUT_PODS: Final = {
    "": "Binding ComponentStatus ConfigMap Endpoints Event LimitRange List Namespace Node PersistentVolume "
    "PersistentVolumeClaim PodTemplate ResourceQuota Secret Service ServiceAccount Status",
    "admissionregistration.k8s.io": "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding "
    "MutatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding "
    "ValidatingWebhookConfiguration",
    "apiextensions.k8s.io": "CustomResourceDefinition",
    "apiregistration.k8s.io": "APIService",
    "apps": "ControllerRevision",
    "authentication.k8s.io": "SelfSubjectReview TokenRequest TokenReview",
    "authorization.k8s.io": "LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview "
    "SubjectAccessReview",
    "autoscaling": "HorizontalPodAutoscaler Scale",
    "batch": "",
    "certificates.k8s.io": "CertificateSigningRequest ClusterTrustBundle PodCertificateRequest",
    "coordination.k8s.io": "Lease LeaseCandidate",
    "discovery.k8s.io": "EndpointSlice",
    "events.k8s.io": "Event",
    "extensions": "Ingress NetworkPolicy PodSecurityPolicy",
    "flowcontrol.apiserver.k8s.io": "FlowSchema PriorityLevelConfiguration",
    "internal.apiserver.k8s.io": "StorageVersion",
    "lifecycle.k8s.io": "Eviction EvictionRequest",
    "networking.k8s.io": "ClusterCIDR IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR",
    "node.k8s.io": "RuntimeClass",
    "policy": "Eviction PodDisruptionBudget PodSecurityPolicy",
    "rbac.authorization.k8s.io": "ClusterRole ClusterRoleBinding Role RoleBinding",
    "resource.k8s.io": "DeviceClass DeviceTaintRule PodScheduling PodSchedulingContext ResourceClaim "
    "ResourceClaimParameters ResourceClaimTemplate ResourceClass ResourceClassParameters ResourcePoolStatusRequest "
    "ResourceSlice",
    "scheduling.k8s.io": "CompositePodGroup PodGroup PriorityClass Workload",
    "storage.k8s.io": "CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass",
    "storagemigration.k8s.io": "StorageVersionMigration",
}
_FORMER: Final = {"extensions": ("DaemonSet", "Deployment", "ReplicaSet")}  # now in apps
GROUP_KINDS: Final = {
    group: tuple(sorted((*names.split(), *_FORMER.get(group, ()), *_kinds_with_pods(group))))
    for group, names in _WITHOUT_PODS.items()
}
BUILT_IN_KINDS: Final = frozenset(kind for kinds in GROUP_KINDS.values() for kind in kinds)
_RUN_NONE: Final = frozenset(kind for names in _WITHOUT_PODS.values() for kind in names.split())
# Names of kinds on kubectl's command line.
SHORT_NAMES: Final = {kind.short: name for name, kind in KINDS.items() if kind.short}

# Kinds of other projects that run no pods; "*" for all of a group. A kind that is missing here is "unknown", which is
# never wrong: kinds whose controllers create workloads (HelmRelease, Application, Gateway) must not be added.
_CUSTOM: Final = {
    "acme.cert-manager.io": "*",
    "apiextensions.crossplane.io": "*",
    "argoproj.io": "AnalysisTemplate AppProject ClusterAnalysisTemplate ClusterWorkflowTemplate WorkflowTemplate",
    "autoscaling.k8s.io": "*",
    "bitnami.com": "SealedSecret",
    "cert-manager.io": "*",
    "cilium.io": "*",
    "configuration.konghq.com": "*",
    "crd.projectcalico.org": "*",
    "external-secrets.io": "*",
    "gateway.networking.k8s.io": "BackendTLSPolicy GRPCRoute GatewayClass HTTPRoute ReferenceGrant TCPRoute TLSRoute "
    "UDPRoute",
    "generators.external-secrets.io": "*",
    "image.toolkit.fluxcd.io": "*",
    "k8s.cni.cncf.io": "*",
    "karpenter.k8s.aws": "*",
    "karpenter.sh": "*",
    "keda.sh": "ClusterTriggerAuthentication ScaledObject TriggerAuthentication",
    "kustomize.config.k8s.io": "*",
    "kyverno.io": "*",
    "linkerd.io": "*",
    "metallb.io": "*",
    "metrics.k8s.io": "*",
    "monitoring.coreos.com": "AlertmanagerConfig PodMonitor Probe PrometheusRule ScrapeConfig ServiceMonitor",
    "networking.istio.io": "*",
    "notification.toolkit.fluxcd.io": "*",
    "policy.linkerd.io": "*",
    "projectcalico.org": "*",
    "projectcontour.io": "HTTPProxy TLSCertificateDelegation",
    "route.openshift.io": "Route",
    "secrets-store.csi.x-k8s.io": "*",
    "security.istio.io": "*",
    "serving.knative.dev": "DomainMapping Route",
    "snapshot.storage.k8s.io": "*",
    "source.toolkit.fluxcd.io": "*",
    "telemetry.istio.io": "*",
    "templates.gatekeeper.sh": "*",
    "constraints.gatekeeper.sh": "*",
    "traefik.containo.us": "*",
    "traefik.io": "*",
    "trust.cert-manager.io": "*",
    "velero.io": "*",
    "wgpolicyk8s.io": "*",
}


def group_of(api_version: object) -> str | None:
    """Return the API group of an apiVersion: "" for the core, None where there is none.

    >>> group_of("apps/v1"), group_of("v1"), group_of(None)
    ('apps', '', None)
    """
    if not isinstance(api_version, str) or not api_version:
        return None
    return api_version.rpartition("/")[0]


def runs_no_pods(kind: str, group: str | None) -> bool:
    """Return True for a kind that is known to run no pods of its own.

    >>> runs_no_pods("Service", ""), runs_no_pods("Service", "serving.knative.dev"), runs_no_pods("Service", None)
    (True, False, True)
    """
    if group is None:
        return kind in _RUN_NONE
    if group in GROUP_KINDS:
        return kind in _RUN_NONE
    custom = _CUSTOM.get(group, "")
    return custom == "*" or kind in custom.split()


def is_built_in(group: str | None) -> bool:
    """Return True for a group of Kubernetes itself, and for an object without apiVersion."""
    return group is None or group in GROUP_KINDS
