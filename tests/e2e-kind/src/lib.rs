//! Braid installed into a cluster as people install it: images loaded, the chart by Helm, workflows by kubectl.
//!
//! The cluster is there already and is named by `BRAID_CLUSTER`; `BRAID_IMAGES` is a list, as
//! `PATH`, of the images' files. Each test has a
//! namespace of its own, and a test that fails tells what the cluster knows of it. Everything here panics with what was seen: it
//! is for tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::indexing_slicing
)]

mod campaign;
mod cells;
mod detour;
pub mod edges;
mod install;
mod prober;
mod processes;
pub mod proxy;
mod second;
mod space;
mod table;
mod victim;

pub use campaign::campaign;
pub use cells::{OF_A_RUN, OF_ALL, TWINS, cell, cut_off, two_leaders};
pub use detour::Detour;
pub use install::{Suite, suite, sum};
pub use prober::Prober;
pub use processes::{Process, Signal};
pub use space::{Space, told, until};
pub use table::Row;
pub use victim::{Ledger, Part, Victim, open_shards};

/// The image of user code that has a shell.
pub const USERLAND: &str = braid_cluster::userland::NAME;
/// The image of user code that has one static program, `/braid-tally`.
pub const TALLY: &str = "braid.local/braid-tally:test";
