//! Wrong values are refused before anything is rendered, with a message that names them.

use crate::helm::{printed, template, told};

/// A value, as `--set-json` takes it, and what the message must name.
const WRONG: [(&str, &str); 41] = [
    ("watchNamespace=[\"team\"]", "watchNamespace"),
    ("watchNamespaces=\"team\"", "/watchNamespaces"),
    ("watchNamespaces=[\"Team\"]", "/watchNamespaces/0"),
    ("watchNamespaces=[\"a\",\"a\"]", "/watchNamespaces"),
    ("nameOverride=\"A_b\"", "/nameOverride"),
    ("fullnameOverride=\"-a\"", "/fullnameOverride"),
    ("commonLabels={\"app.kubernetes.io/name\":\"x\"}", "/commonLabels"),
    ("podLabels={\"app.kubernetes.io/instance\":\"x\"}", "/podLabels"),
    ("commonLabels={\"a\":1}", "/commonLabels/a"),
    ("imageRegistry=\"https://ghcr.io\"", "/imageRegistry"),
    ("image.tag=1.2", "/image/tag"),
    ("image.digest=\"sha256:12\"", "/image/digest"),
    ("image.pullPolicy=\"Sometimes\"", "/image/pullPolicy"),
    ("image.pullSecrets=[{\"name\":\"a\"}]", "/image/pullSecrets/0"),
    ("worker.image.repository=\"\"", "/worker/image/repository"),
    ("worker.image.pullPolicy=\"always\"", "/worker/image/pullPolicy"),
    ("worker.image.pullSecrets=[\"a,b\"]", "/worker/image/pullSecrets/0"),
    ("worker.resources={\"request\":{}}", "/worker/resources"),
    (
        "worker.resources.limits={\"memory\":true}",
        "/worker/resources/limits/memory",
    ),
    ("worker.count=0", "/worker/count"),
    ("worker.count=10001", "/worker/count"),
    ("worker.leaseSeconds=4", "/worker/leaseSeconds"),
    ("leaderElection.leaseSeconds=3601", "/leaderElection/leaseSeconds"),
    ("crds.install=\"yes\"", "/crds/install"),
    ("crds.kept=true", "/crds"),
    ("replicas=-1", "/replicas"),
    ("replicas=1.5", "/replicas"),
    ("log=\"\"", "/log"),
    ("tracing.endpoint=\"https://collector:4318\"", "/tracing/endpoint"),
    ("tracing.ratio=2", "/tracing/ratio"),
    ("tracing.enabled=true", "/tracing"),
    ("serviceAccount.name=\"a b\"", "/serviceAccount/name"),
    ("strategy.type=\"OnDelete\"", "/strategy/type"),
    ("terminationGracePeriodSeconds=5", "/terminationGracePeriodSeconds"),
    ("extraEnv=[{\"value\":\"a\"}]", "/extraEnv/0"),
    (
        "probes.liveness.successThreshold=2",
        "/probes/liveness/successThreshold",
    ),
    (
        "podDisruptionBudget.maxUnavailable=0",
        "/podDisruptionBudget/maxUnavailable",
    ),
    (
        "networkPolicy.apiServerCIDRs=[\"10.0.0.1\"]",
        "/networkPolicy/apiServerCIDRs/0",
    ),
    (
        "networkPolicy.apiServerPorts=[70000]",
        "/networkPolicy/apiServerPorts/0",
    ),
    ("metrics.port=80", "/metrics/port"),
    ("rbac.aggregated=true", "/rbac"),
];

#[test]
fn wrong_values_are_refused_by_name() {
    for (value, named) in WRONG {
        let output = template().args(["--set-json", value]).output().unwrap();
        let told = told(&output);
        assert!(!output.status.success(), "{value} is taken");
        assert!(
            told.contains("don't meet the specifications of the schema"),
            "{value}: {told}"
        );
        assert!(told.contains(named), "{value}: {told}");
    }
}

/// What is refused is refused for its value, not for how it is written here.
#[test]
fn right_values_beside_them_are_taken() {
    for value in [
        "watchNamespaces=[\"team\"]",
        "commonLabels={\"a\":\"1\"}",
        "image.tag=\"1.2\"",
        "worker.resources={\"requests\":{\"cpu\":1}}",
        "worker.count=1",
        "worker.leaseSeconds=5",
        "podDisruptionBudget.maxUnavailable=\"100%\"",
        "networkPolicy.apiServerCIDRs=[\"fd00::/8\"]",
        "replicas=0",
        "global={\"anything\":1}",
    ] {
        printed(template().args(["--set-json", value]));
    }
}
