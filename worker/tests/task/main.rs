//! A worker against the embedded API server, with a runner that does what a test says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod bench;
mod data;
mod faults;
mod partitions;
mod script;
mod shards;
