//! What the project takes for granted of a cluster, proved on a real API server.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod definitions;
mod fixture;
mod jobs;
mod manifests;
mod people;
mod policies;
mod table;
