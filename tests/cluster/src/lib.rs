//! Kubernetes for the tests, in two sizes: an API server alone, and clusters in containers.
//!
//! The API server: etcd, kube-apiserver and the two controllers that every cluster relies on.
//!
//! [`programs`] builds the programs from pinned Go modules into a cache outside the work tree; only the first build takes
//! minutes. [`RealApiServer`] runs them on loopback with certificates of their own, and answers with `kube::Client`s. There is
//! no kubelet and no scheduler: nothing becomes of a Pod.
//!
//! A server ends with its owner, however that ends: its processes hold a pipe of the owner and are killed when it closes.
//!
//! [`kind`] makes clusters that run pods, on any machine with Docker and on Debian machines without, also where no image can be
//! pulled. They stay until they are removed. [`image`] writes the images that they are given.

mod arguments;
mod cache;
mod certificates;
mod command;
mod debian;
mod engine;
pub mod image;
pub mod kind;
mod kubeconfig;
mod node;
mod process;
pub mod programs;
mod server;
mod steps;
mod toolchain;
pub mod userland;

pub use certificates::CertificateError;
pub use command::CallError;
pub use engine::{Engine, EngineError};
pub use kubeconfig::Person;
pub use node::NodeError;
pub use process::ProcessError;
pub use programs::{BuildError, Built, Program};
pub use server::{Builder, RealApiServer, StartError};
pub use steps::{Phase, Steps};
