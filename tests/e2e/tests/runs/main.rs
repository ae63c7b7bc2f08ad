//! Whole runs with real processes. Numbers are compared with what other tools say of the same input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod checkpoints;
mod data;
mod emits;
mod ends;
mod examples;
mod failures;
mod language;
mod partitions;
mod pauses;
mod programs;
mod secrets;
mod shuffles;
mod writes;
