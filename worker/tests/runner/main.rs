//! Runs real processes through real shims, with real signals.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod checkpoints;
mod container;
mod endings;
mod harness;
mod hostile;
mod input;
mod memory;
mod placed;
mod processes;
mod served;
mod served_data;
