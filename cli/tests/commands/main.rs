//! `braid` as people call it: child processes, their exit codes and what they print.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod ended;
mod harness;
mod interrupted;
mod running;
mod wrong;
