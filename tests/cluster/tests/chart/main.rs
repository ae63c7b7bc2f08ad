//! The Helm charts: what they render, what they refuse, and what a real API server says of it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod api;
mod golden;
mod helm;
mod lifecycle;
mod monitoring;
mod operates;
mod refusals;
mod rights;
mod server;
