//! The Job of a pool: a pure function of the pool and the operator's options.
//!
//! Three containers hold to the Pod Security level "restricted": one that copies the shim, the worker as a native sidecar, and the user's
//! `main` with the shim as its first process. The token of the pod's ServiceAccount is mounted into the worker only. What of a
//! template would let user code come near the worker or its token is refused, not mended.

use std::collections::BTreeMap;

use braid_crds::{DataVolume, PodClass};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{
            Container, LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, Volume,
        },
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{names, pods::PoolRef};

/// The container of user code.
pub const MAIN: &str = "main";
/// The container of the worker.
pub const WORKER: &str = "worker";
/// The container that copies the shim.
const INSTALL: &str = "braid-install";
/// Names of containers and volumes that begin so are Braid's own.
const OURS: &str = "braid-";
/// Where the code of functions is in `main`; the worker names it so, too.
const CODE: &str = "/braid/code";
/// Where volumes of data are in the worker.
const DATA: &str = "/data";
/// Where the volumes are in the containers.
const ROOT: &str = "/braid";
/// The user and group of Braid's own containers, and of `main` where nobody says another.
const USER: i64 = 65_532;

/// What pods are made with, the same for all pools.
#[derive(Clone, Debug)]
pub struct PodOptions {
    /// The image of the worker and the shim.
    pub worker_image: String,
    /// When it is pulled: `Always`, `IfNotPresent`, `Never`; absent: as the cluster does.
    pub pull_policy: Option<String>,
    /// Secrets to pull it with, in the namespaces of the pods.
    pub pull_secrets: Vec<String>,
    /// The resources of the worker.
    pub worker_resources: ResourceRequirements,
    /// The image of `main` where a step names none.
    pub default_image: Option<String>,
    /// The ClusterRole of workers.
    pub worker_role: String,
    /// Where workers send spans, if they do.
    pub tracing: Option<WorkerTracing>,
}

/// Spans of workers.
#[derive(Clone, Debug)]
pub struct WorkerTracing {
    /// Where they go.
    pub endpoint: String,
    /// The share of runs that are traced.
    pub ratio: String,
}

/// Why a pool has no Job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A part is not what core/v1 says.
    #[error("{part}: {problem}")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A field that core/v1 does not have.
    #[error("{path}: there is no such field in a pod")]
    UnknownField {
        /// Where.
        path: String,
    },
    /// A field that would break what Braid promises.
    #[error("{path} cannot be set: {why}")]
    Refused {
        /// Where.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// No image.
    #[error("run.image is missing, and the operator was started without an image for steps that name none")]
    NoImage,
}

/// The Job of a pool with so many workers. That of a standing pool is named after its pods, so that other pods are another Job.
///
/// # Errors
/// What of the pool's pods cannot be had.
pub fn job_for(pool: &PoolRef, workers: i32, options: &PodOptions) -> Result<Job, TemplateError> {
    let class = &pool.class;
    let template: PodTemplateSpec = match &class.template {
        Some(template) => read("template", template)?,
        None => PodTemplateSpec::default(),
    };
    let mut spec = template.spec.unwrap_or_default();
    refuse(&spec)?;
    let main = main(&mut spec.containers, spec.security_context.as_ref(), class, options)?;
    let user_inits = spec.init_containers.take().unwrap_or_default();
    spec.containers.insert(0, main);
    // Ours first: what a template starts before `main` may need the worker's volumes to be there, never the other way round.
    let given = spec.volumes.get_or_insert_default();
    spec.init_containers = Some(ours(class, options, given)?.into_iter().chain(user_inits).collect());
    let volumes = volumes(class, given)?;
    given.extend(volumes);
    spec.restart_policy = Some("Never".into());
    spec.automount_service_account_token = Some(false);
    for name in &options.pull_secrets {
        let secrets = spec.image_pull_secrets.get_or_insert_default();
        if !secrets.iter().any(|secret| secret.name == *name) {
            secrets.push(LocalObjectReference { name: name.clone() });
        }
    }
    let given = template.metadata.unwrap_or_default();
    let mut labels = given.labels.unwrap_or_default();
    labels.extend(pool.labels.clone());
    labels.insert("app.kubernetes.io/name".into(), "braid-worker".into());
    labels.insert(names::MANAGED_BY.into(), names::BRAID.into());
    labels.insert(names::POOL_UID.into(), pool.uid.clone());
    if pool.standing {
        labels.insert(names::POD_CLASS.into(), names::class(class));
    }
    let mut annotations = given.annotations.unwrap_or_default();
    annotations
        .entry("kubectl.kubernetes.io/default-container".into())
        .or_insert_with(|| MAIN.into());
    annotations.insert(names::LINES.into(), MAIN.into());
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(spec),
    };
    // Pods of a Job cannot change: other pods are another Job. That they change with the images of the operator, too, is meant.
    let digest = names::digest(&template, 8);
    let name = if pool.standing {
        // Its first three bytes, as hexadecimal digits.
        format!("{}-{}", pool.name, digest.get(..6).unwrap_or(&digest))
    } else {
        pool.name.clone()
    };
    Ok(Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(pool.namespace.clone()),
            labels: Some(job_labels(pool)),
            annotations: Some([(names::POD_TEMPLATE.into(), digest)].into()),
            owner_references: Some(vec![owner(pool)]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            completion_mode: Some("Indexed".into()),
            completions: Some(workers.max(1)),
            parallelism: Some(workers),
            // A worker that fails is replaced, however often: what user code may cost is counted elsewhere.
            backoff_limit: Some(i32::MAX),
            // Never more pods than workers: quotas count those that are going, too.
            pod_replacement_policy: Some("Failed".into()),
            template,
            ..JobSpec::default()
        }),
        status: None,
    })
}

pub(super) fn job_labels(pool: &PoolRef) -> BTreeMap<String, String> {
    let mut labels = pool.labels.clone();
    labels.insert(names::MANAGED_BY.into(), names::BRAID.into());
    labels.insert(names::POOL_UID.into(), pool.uid.clone());
    labels
}

pub(super) fn owner(pool: &PoolRef) -> OwnerReference {
    OwnerReference {
        api_version: format!("{}/{}", braid_crds::GROUP, braid_crds::VERSION),
        kind: "WorkerPool".into(),
        name: pool.name.clone(),
        uid: pool.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// What would let user code come near the worker, or end what must not end.
fn refuse(spec: &PodSpec) -> Result<(), TemplateError> {
    let refused = |path: &str, why| {
        Err(TemplateError::Refused {
            path: format!("template.spec.{path}"),
            why,
        })
    };
    if spec.share_process_namespace == Some(true) {
        return refused(
            "shareProcessNamespace",
            "user code could see the worker's processes and token",
        );
    }
    if spec.host_pid == Some(true) {
        return refused("hostPID", "user code could see the worker's processes and token");
    }
    if spec.automount_service_account_token == Some(true) {
        return refused(
            "automountServiceAccountToken",
            "user code would have the worker's token",
        );
    }
    if spec.restart_policy.as_deref().is_some_and(|policy| policy != "Never") {
        return refused(
            "restartPolicy",
            "a worker whose program has ended is replaced by another pod",
        );
    }
    if spec.active_deadline_seconds.is_some() {
        return refused(
            "activeDeadlineSeconds",
            "workers live as long as their run; give steps a timeout",
        );
    }
    for volume in spec.volumes.iter().flatten() {
        if volume.name.starts_with(OURS) {
            return refused(
                &format!("volumes[{}]", volume.name),
                "names that begin with braid- are Braid's own",
            );
        }
        let sources = volume
            .projected
            .iter()
            .flat_map(|projected| projected.sources.iter().flatten());
        let mut tokens = sources.filter_map(|source| source.service_account_token.as_ref());
        if tokens.any(|token| {
            token
                .audience
                .as_deref()
                .is_none_or(|audience| audience.contains("kubernetes"))
        }) {
            return refused(
                &format!("volumes[{}]", volume.name),
                "a token for the API server would have the worker's rights; name the audience that it is for",
            );
        }
    }
    let inits = spec.init_containers.iter().flatten();
    for (list, container) in inits
        .map(|container| ("initContainers", container))
        .chain(spec.containers.iter().map(|container| ("containers", container)))
    {
        let path = format!("{list}[{}]", container.name);
        if container.name.starts_with(OURS)
            || container.name == WORKER
            || (container.name == MAIN && list != "containers")
        {
            return refused(&path, "this name is Braid's own");
        }
        mounts(&path, container)?;
    }
    Ok(())
}

/// No container but ours sees our volumes, or hides our directories.
fn mounts(path: &str, container: &Container) -> Result<(), TemplateError> {
    for mount in container.volume_mounts.iter().flatten() {
        let below = mount.mount_path.strip_prefix(ROOT);
        if mount.name.starts_with(OURS) || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(TemplateError::Refused {
                path: format!("{path}.volumeMounts[{}]", mount.name),
                why: "volumes that begin with braid- and the directory /braid are Braid's own",
            });
        }
    }
    Ok(())
}

/// The user's container: what the template says of it, then what the step says, then the shim.
fn main(
    containers: &mut Vec<Container>,
    pod_security: Option<&PodSecurityContext>,
    class: &PodClass,
    options: &PodOptions,
) -> Result<Container, TemplateError> {
    let at = containers.iter().position(|container| container.name == MAIN);
    let mut main = at.map_or_else(Container::default, |at| containers.remove(at));
    let refused = |field: &str, why| {
        Err(TemplateError::Refused {
            path: format!("template.spec.containers[{MAIN}].{field}"),
            why,
        })
    };
    if main.command.is_some() || main.args.is_some() {
        return refused(
            "command",
            "the first process is Braid's shim; programs belong into run.command",
        );
    }
    if main.lifecycle.is_some() {
        return refused(
            "lifecycle",
            "it would run beside the shim before the worker knows the shim",
        );
    }
    if main.restart_policy.is_some() {
        return refused(
            "restartPolicy",
            "a worker whose program has ended is replaced by another pod",
        );
    }
    main.name = MAIN.into();
    if let Some(image) = class.image.clone() {
        main.image = Some(image);
    }
    main.image = main.image.or_else(|| options.default_image.clone());
    if main.image.is_none() {
        return Err(TemplateError::NoImage);
    }
    if let Some(resources) = &class.resources {
        main.resources = Some(read("resources", resources)?);
    }
    if let Some(context) = &class.security_context {
        main.security_context = Some(read("securityContext", context)?);
    }
    if main.security_context.is_none() {
        let chosen = pod_security.is_some_and(|pod| pod.run_as_user.is_some() || pod.run_as_non_root.is_some());
        main.security_context = Some(read("securityContext", &restricted(!chosen, false))?);
    }
    for variable in &class.env {
        main.env.get_or_insert_default().push(read("env", variable)?);
    }
    for source in &class.env_from {
        main.env_from.get_or_insert_default().push(read("envFrom", source)?);
    }
    for mount in &class.volume_mounts {
        main.volume_mounts
            .get_or_insert_default()
            .push(read("volumeMounts", mount)?);
    }
    mounts("run", &main)?;
    main.command = Some(
        [
            "/braid/bin/braid-shim",
            "--connect",
            "/braid/link/worker.sock",
            "--scratch",
            "/braid/scratch",
        ]
        .map(str::to_owned)
        .into(),
    );
    let own = json!([
        {"name": "braid-bin", "mountPath": "/braid/bin", "readOnly": true},
        {"name": "braid-link", "mountPath": "/braid/link", "readOnly": true},
        {"name": "braid-scratch", "mountPath": "/braid/scratch"},
    ]);
    let mounts = main.volume_mounts.get_or_insert_default();
    mounts.extend(read::<Vec<_>>("volumeMounts", &own)?);
    if class.code.is_some() {
        let code = json!({"name": "braid-code", "mountPath": CODE, "readOnly": true});
        mounts.push(read("volumeMounts", &code)?);
    }
    Ok(main)
}

/// The rights of a container at the level "restricted".
fn restricted(user: bool, read_only: bool) -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
        "runAsNonRoot": user.then_some(true),
        "runAsUser": user.then_some(USER),
        "runAsGroup": user.then_some(USER),
        "readOnlyRootFilesystem": read_only.then_some(true),
    })
}

/// The copying of the shim, and the worker.
fn ours(class: &PodClass, options: &PodOptions, given: &[Volume]) -> Result<[Container; 2], TemplateError> {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let base = json!({
        "image": options.worker_image,
        "imagePullPolicy": options.pull_policy,
        "resources": options.worker_resources,
        "securityContext": restricted(true, true),
    });
    let with = |more: Value| {
        let mut container = base.clone();
        if let (Some(container), Value::Object(more)) = (container.as_object_mut(), more) {
            container.extend(more);
        }
        read::<Container>("worker", &container)
    };
    let mut mounts = json!([
        {"name": "braid-link", "mountPath": "/braid/link"},
        {"name": "braid-worker", "mountPath": "/braid/worker"},
        {"name": "braid-token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
    ]);
    let mut env = vec![
        field("POD_NAME", "metadata.name"),
        field("POD_UID", "metadata.uid"),
        field("NAMESPACE", "metadata.namespace"),
    ];
    if let Some(tracing) = &options.tracing {
        env.push(json!({"name": "BRAID_OTLP_ENDPOINT", "value": tracing.endpoint}));
        env.push(json!({"name": "BRAID_OTLP_RATIO", "value": tracing.ratio}));
    }
    if let Some(mounts) = mounts.as_array_mut() {
        mounts.extend(class.data.iter().map(|data| {
            let volume = data_volume(data, class, given);
            json!({"name": volume, "mountPath": format!("{DATA}/{}", data.name), "readOnly": !data.writable})
        }));
    }
    Ok([
        with(json!({
            "name": INSTALL,
            "command": ["/braid-worker", "install", "/braid/bin"],
            "volumeMounts": [{"name": "braid-bin", "mountPath": "/braid/bin"}],
        }))?,
        with(json!({
            "name": WORKER,
            "restartPolicy": "Always",
            "command": ["/braid-worker", "run"],
            "env": env,
            "lifecycle": {"preStop": {"exec": {"command": ["/braid-worker", "drain"]}}},
            "volumeMounts": mounts,
        }))?,
    ])
}

/// The volumes that carry the shim, the socket, the worker's own files, large inputs, the token, and data, beside those that a template has given.
fn volumes(class: &PodClass, given: &[Volume]) -> Result<Vec<Volume>, TemplateError> {
    let volumes = json!([
        {"name": "braid-bin", "emptyDir": {}},
        {"name": "braid-link", "emptyDir": {}},
        {"name": "braid-worker", "emptyDir": {}},
        {"name": "braid-scratch", "emptyDir": {}},
        {"name": "braid-token", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]}},
    ]);
    let mut volumes: Vec<Volume> = read("volumes", &volumes)?;
    if let Some(code) = &class.code {
        volumes.push(read(
            "code",
            &json!({"name": "braid-code", "configMap": {"name": code.name}}),
        )?);
    }
    for data in &class.data {
        let name = data_volume(data, class, given);
        if let Some(shared) = given.iter().chain(&volumes).find(|volume| volume.name == name) {
            let claim = shared.persistent_volume_claim.as_ref();
            if data.writable && claim.is_some_and(|claim| claim.read_only == Some(true)) {
                return Err(TemplateError::Refused {
                    path: format!("template.spec.volumes[{name}].persistentVolumeClaim.readOnly"),
                    why: "a step writes data on this claim",
                });
            }
            continue;
        }
        let source = serde_json::to_value(&data.volume).unwrap_or_default();
        let mut volume = json!({"name": name});
        if let (Some(volume), Value::Object(source)) = (volume.as_object_mut(), source) {
            volume.extend(source);
        }
        volumes.push(read("data", &volume)?);
    }
    Ok(volumes)
}

/// The name of the volume of data. A claim has one volume in a pod, that of whoever names it first: for the second of the same claim kubelets wait for
/// ever, and say nothing (kubernetes/kubernetes#82526 and #132921).
fn data_volume(data: &DataVolume, class: &PodClass, given: &[Volume]) -> String {
    let claim = |data: &DataVolume| Some(data.volume.persistent_volume_claim.clone()?.claim_name);
    let name = |data: &DataVolume| format!("{OURS}data-{}", data.name);
    let Some(wanted) = claim(data) else {
        return name(data);
    };
    let has_it = |volume: &&Volume| {
        let source = volume.persistent_volume_claim.as_ref();
        source.is_some_and(|source| source.claim_name == wanted)
    };
    if let Some(volume) = given.iter().find(has_it) {
        return volume.name.clone();
    }
    let first = class.data.iter().find(|other| claim(other).as_ref() == Some(&wanted));
    name(first.unwrap_or(data))
}

/// Reads a part of a pod, strictly: a field that the type does not have is an error, not lost.
fn read<T: Serialize + DeserializeOwned>(part: &'static str, value: &Value) -> Result<T, TemplateError> {
    let malformed = |error: serde_json::Error| TemplateError::Malformed {
        part,
        problem: error.to_string(),
    };
    // A template need not have what a container must: lists of containers are completed here.
    let read: T = serde_json::from_value(value.clone()).map_err(malformed)?;
    let known = serde_json::to_value(&read).map_err(malformed)?;
    match lost(value, &known, part) {
        Some(path) => Err(TemplateError::UnknownField { path }),
        None => Ok(read),
    }
}

/// The first field of `given` that is not in `known`; what is empty may be left out.
fn lost(given: &Value, known: &Value, path: &str) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => given.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match known.get(name) {
                Some(known) => lost(value, known, &path),
                None => (!is_empty(value)).then_some(path),
            }
        }),
        (Value::Array(given), Value::Array(known)) => given
            .iter()
            .zip(known)
            .enumerate()
            .find_map(|(at, (given, known))| lost(given, known, &format!("{path}[{at}]"))),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}
