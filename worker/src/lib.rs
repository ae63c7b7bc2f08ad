//! Braid's worker: how user code is run, and what runs beside it.

pub mod frames;
pub mod runner;
pub mod shim;
