//! Braid's API: the kinds of `braid.dev/v1alpha1`, their rules and their identities.
//!
//! `Workflow` is what people write. `WorkerPool`, `Worker` and `Plan` are written by the operator and by workers. The
//! types here are the wire format: everything that two processes agree on is a type of this crate, with its limits in
//! the schema. Rules that a schema cannot say are CEL rules beside the field they guard.
//!
//! Two limits run through the crate. Whatever a CEL rule looks at has a hard maximum (an API server estimates the cost
//! of a rule from them and refuses the definition otherwise). Whatever comes from a worker or a user is parsed into a
//! newtype that cannot hold a wrong value: a bad one fails to deserialise, with a message that names the rule.

// `printcolumn(..)` repeats `type_` by design.
#![allow(clippy::duplicated_attributes)]

pub mod duration;
pub mod ids;
pub mod intervals;
pub mod labels;
pub mod limits;
mod parallelism;
pub mod plan;
pub mod pool;
pub mod quantity;
pub mod schema;
pub mod status;
pub mod worker;
pub mod workflow;

pub use duration::Duration;
pub use ids::{CardDigest, Cursor, PartitionRange, PlanDigest, Round, ShardId, StartId};
pub use intervals::Intervals;
pub use parallelism::Parallelism;
pub use plan::{Plan, PlanSpec};
pub use pool::{
    AllowedFrom, AllowedNamespaces, AllowedRuns, DataVolume, PodClass, WorkerPool, WorkerPoolSpec, WorkerPoolStatus,
};
pub use quantity::{ByteSize, CountOrPercent};
pub use status::{StepStatus, WorkflowStatus};
pub use worker::{Worker, WorkerSpec, WorkerStatus};
pub use workflow::{Workflow, WorkflowSpec};

/// The API group of every kind. A placeholder domain until the project owns one.
pub const GROUP: &str = "braid.dev";
/// The only served version.
pub const VERSION: &str = "v1alpha1";
/// `status.format` that this build writes, and the newest that it may touch.
pub const STATUS_FORMAT: i32 = 1;
/// Versions of the operator-worker protocol that this build speaks, both ends included: raised when workers of the version before could
/// not read what they are given, or would read something else. 2 has functions, programs that live on, formats and all reducers in cards; 3 has
/// shuffles, results that are written, checkpoints, and the first run of all; 4 has runs of other namespaces; 5 has rules for HTTP statuses.
pub const PROTOCOL: (i32, i32) = (5, 5);

/// The version of the definitions, in their annotation [`DEFINITIONS_ANNOTATION`]: raised with every change that an operator of another
/// version could do damage by. An operator works with its own version only.
pub const DEFINITIONS: i32 = 5;
/// The annotation that holds [`DEFINITIONS`].
pub const DEFINITIONS_ANNOTATION: &str = "braid.dev/definitions";

/// The definitions of all kinds, as installed on an API server.
pub fn definitions() -> Vec<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>
{
    use kube::CustomResourceExt as _;
    [Workflow::crd(), WorkerPool::crd(), Worker::crd(), Plan::crd()]
        .into_iter()
        .map(|definition| {
            let mut definition = schema::polish(definition);
            let annotations = definition.metadata.annotations.get_or_insert_default();
            annotations.insert(DEFINITIONS_ANNOTATION.to_owned(), DEFINITIONS.to_string());
            definition
        })
        .collect()
}
