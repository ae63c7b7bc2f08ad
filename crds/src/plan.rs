//! `Plan`: what the partitions of a step are, written once and never changed.
//!
//! The name carries the digest of the whole plan, so two planners that saw different files write different objects and
//! cannot mix; the workflow's status pins the digest that counts. Plans that were not pinned go with their workflow.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{PlanDigest, Round};

/// A piece of a plan's canonical bytes.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "braid.dev",
    version = "v1alpha1",
    kind = "Plan",
    namespaced,
    category = "braid",
    derive = "PartialEq",
    printcolumn(name = "Step", type_ = "string", json_path = ".spec.step"),
    printcolumn(name = "Chunk", type_ = "integer", json_path = ".spec.chunk"),
    printcolumn(name = "Chunks", type_ = "integer", json_path = ".spec.chunks"),
    validation = ("self.spec == oldSelf.spec", "a plan is immutable")
)]
#[serde(rename_all = "camelCase")]
pub struct PlanSpec {
    /// The uid of the workflow.
    #[serde(rename = "workflowUID")]
    #[schemars(length(max = 63))]
    pub workflow_uid: String,
    /// The step.
    #[schemars(length(max = 30))]
    pub step: String,
    /// The step's round.
    pub round: Round,
    /// Names the bytes of the whole plan.
    pub digest: PlanDigest,
    /// Which piece this is, from 0.
    #[schemars(range(min = 0, max = 7))]
    pub chunk: i32,
    /// How many pieces there are.
    #[schemars(range(min = 1, max = 8))]
    pub chunks: i32,
    /// The piece: base64.
    #[schemars(length(max = 1_258_292))]
    pub data: String,
}
