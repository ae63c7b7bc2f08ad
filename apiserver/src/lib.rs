//! An in-memory Kubernetes API server for any set of custom resource definitions, behind `kube::Client`.
//!
//! Code written against a cluster runs unchanged against [`ApiServer::client`]. The server keeps the contracts that
//! such code relies on: optimistic concurrency by resourceVersion and uid, status isolation, generation, finalizers,
//! watches with bookmarks, 410 and selector transitions, structural schemas (pruning, defaulting, validation),
//! CEL rules with `oldSelf`, and garbage collection by owner references. What it lacks is refused, never ignored.
//!
//! Versions come from one counter that only grows, across restarts, too. With [`Builder::state_dir`] every
//! write is on disk before it is answered or seen. [`Faults`] injects what can go wrong between a client and a server.
//!
//! ```no_run
//! # async fn run(crds: Vec<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>)
//! # -> Result<(), braid_apiserver::BuildError> {
//! let server = braid_apiserver::ApiServer::builder().crds(crds).build().await?;
//! let client: kube::Client = server.client("default");
//! # drop(client);
//! server.shutdown().await?;
//! # Ok(()) }
//! ```

mod check;
mod collect;
mod counters;
mod discovery;
mod error;
mod faults;
mod journal;
mod object;
mod path;
mod resource;
mod route;
mod rules;
mod schema;
mod selectors;
mod server;
mod service;
mod status;
mod store;
mod verbs;
mod watch;

pub use check::{Definitions, Refusal};
pub use counters::{CounterKey, Counts};
pub use error::BuildError;
pub use faults::{Fault, FaultId, Faults, Target, Times};
pub use route::{Subresource, Verb};
pub use server::{ApiServer, Builder};
pub use service::{AnswerBody, ApiService};
