//! What the server serves: the built-in kinds and one entry per custom resource definition.

use std::collections::HashMap;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, Secret};
use k8s_openapi::api::events::v1::Event as NewEvent;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::BuildError;
use crate::schema::Schema;

/// The newer group of events, which kube's recorder writes.
const EVENTS_GROUP: &str = "events.k8s.io";

/// How the body of an object of a kind is checked and brought into shape.
pub(crate) enum Shape {
    /// A custom resource: pruned, defaulted and validated by its structural schema.
    Custom(Box<Schema>),
    /// A built-in: a round trip through the typed struct drops unknown fields and checks the types.
    Typed(fn(&Value) -> Result<Value, serde_json::Error>),
}

/// One served kind.
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) list_kind: String,
    pub(crate) namespaced: bool,
    /// Has `/status`: then the main resource ignores status and `/status` ignores everything else.
    pub(crate) status: bool,
    /// A PUT without resourceVersion overwrites. The real server allows it for some built-ins only.
    pub(crate) unconditional_update: bool,
    /// `metadata.generation` is kept.
    pub(crate) generation: bool,
    pub(crate) shape: Shape,
}

impl Resource {
    /// `workers.braid.dev`, or `configmaps` in the core group.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// `braid.dev/v1alpha1`, or `v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// Index of a resource in the registry and of its table in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ResourceId(pub(crate) usize);

/// All served kinds. Fixed once the server is built.
pub(crate) struct Registry {
    resources: Vec<Resource>,
    by_path: HashMap<String, ResourceId>,
    by_kind: HashMap<String, ResourceId>,
    by_qualified: HashMap<String, ResourceId>,
    crds: Vec<Value>,
}

impl Registry {
    /// The built-ins and the given definitions, with every schema and rule compiled.
    pub(crate) fn new(crds: &[CustomResourceDefinition]) -> Result<Self, BuildError> {
        let mut registry = Self {
            resources: Vec::new(),
            by_path: HashMap::new(),
            by_kind: HashMap::new(),
            by_qualified: HashMap::new(),
            crds: Vec::new(),
        };
        for builtin in builtins() {
            registry.add(builtin)?;
        }
        for crd in crds {
            registry.add(custom(crd)?)?;
            let mut served = serde_json::to_value(crd).map_err(|e| BuildError::crd(crd, e))?;
            if let Some(object) = served.as_object_mut() {
                object.insert("apiVersion".into(), "apiextensions.k8s.io/v1".into());
                object.insert("kind".into(), "CustomResourceDefinition".into());
            }
            registry.crds.push(served);
        }
        Ok(registry)
    }

    fn add(&mut self, resource: Resource) -> Result<(), BuildError> {
        let id = ResourceId(self.resources.len());
        let path = path_key(&resource.group, &resource.version, &resource.plural);
        if self.by_qualified.insert(resource.qualified(), id).is_some() {
            return Err(BuildError::Duplicate {
                resource: resource.qualified(),
            });
        }
        self.by_path.insert(path, id);
        self.by_kind.insert(path_key(&resource.group, "", &resource.kind), id);
        self.resources.push(resource);
        Ok(())
    }

    /// The resource behind an id. Ids are only made by this registry, so the fallback is never taken.
    pub(crate) fn get(&self, id: ResourceId) -> Option<&Resource> {
        self.resources.get(id.0)
    }

    pub(crate) fn by_path(&self, group: &str, version: &str, plural: &str) -> Option<ResourceId> {
        self.by_path.get(&path_key(group, version, plural)).copied()
    }

    /// By `apiVersion` and kind, in any version of the group (owner references may name an older one).
    pub(crate) fn by_kind(&self, api_version: &str, kind: &str) -> Option<ResourceId> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.by_kind.get(&path_key(group, "", kind)).copied()
    }

    /// The kinds that are forgotten after a while, as a real server forgets its events.
    pub(crate) fn fleeting(&self) -> impl Iterator<Item = ResourceId> {
        let is_event = |r: &Resource| r.kind == "Event" && (r.group.is_empty() || r.group == EVENTS_GROUP);
        self.resources
            .iter()
            .enumerate()
            .filter(move |(_, r)| is_event(r))
            .map(|(index, _)| ResourceId(index))
    }

    /// By `workers.braid.dev`.
    pub(crate) fn by_qualified(&self, qualified: &str) -> Option<ResourceId> {
        self.by_qualified.get(qualified).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.resources.len()
    }

    /// The custom resource definitions as the API shows them.
    pub(crate) fn crds(&self) -> &[Value] {
        &self.crds
    }
}

fn path_key(group: &str, version: &str, plural: &str) -> String {
    format!("{group}/{version}/{plural}")
}

fn typed<T: DeserializeOwned + Serialize>(value: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(T::deserialize(value)?)
}

fn builtins() -> Vec<Resource> {
    let builtin = |group: &str, kind: &str, plural: &str, unconditional_update: bool, shape| Resource {
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        plural: plural.into(),
        singular: kind.to_lowercase(),
        short_names: Vec::new(),
        list_kind: format!("{kind}List"),
        namespaced: true,
        status: kind == "Pod",
        unconditional_update,
        generation: false,
        shape,
    };
    vec![
        builtin(
            "coordination.k8s.io",
            "Lease",
            "leases",
            false,
            Shape::Typed(typed::<Lease>),
        ),
        builtin("", "ConfigMap", "configmaps", true, Shape::Typed(typed::<ConfigMap>)),
        builtin("", "Secret", "secrets", true, Shape::Typed(typed::<Secret>)),
        builtin("", "Event", "events", true, Shape::Typed(typed::<Event>)),
        // A real server shows one set of events under both groups; here each keeps its own.
        builtin(EVENTS_GROUP, "Event", "events", true, Shape::Typed(typed::<NewEvent>)),
        builtin("", "Pod", "pods", true, Shape::Typed(typed::<Pod>)),
    ]
}

fn custom(crd: &CustomResourceDefinition) -> Result<Resource, BuildError> {
    let spec = &crd.spec;
    let served: Vec<_> = spec.versions.iter().filter(|v| v.served).collect();
    let [version] = served.as_slice() else {
        return Err(BuildError::crd(
            crd,
            "exactly one served version is supported (there is no conversion)",
        ));
    };
    let schema = version
        .schema
        .as_ref()
        .and_then(|s| s.open_api_v3_schema.as_ref())
        .ok_or_else(|| BuildError::crd(crd, "the served version has no openAPIV3Schema"))?;
    let schema = serde_json::to_value(schema).map_err(|e| BuildError::crd(crd, e))?;
    let schema = Schema::compile(&schema).map_err(|e| BuildError::crd(crd, e))?;
    Ok(Resource {
        group: spec.group.clone(),
        version: version.name.clone(),
        kind: spec.names.kind.clone(),
        plural: spec.names.plural.clone(),
        singular: spec
            .names
            .singular
            .clone()
            .unwrap_or_else(|| spec.names.kind.to_lowercase()),
        short_names: spec.names.short_names.clone().unwrap_or_default(),
        list_kind: spec
            .names
            .list_kind
            .clone()
            .unwrap_or_else(|| format!("{}List", spec.names.kind)),
        namespaced: spec.scope == "Namespaced",
        status: version.subresources.as_ref().is_some_and(|s| s.status.is_some()),
        unconditional_update: false,
        generation: true,
        shape: Shape::Custom(Box::new(schema)),
    })
}
