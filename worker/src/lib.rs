//! Braid's worker: how user code is run, and what runs beside it.

mod desk;
pub mod frames;
pub mod ground;
mod planner;
pub use planner::survey;
mod reader;
pub mod runner;
pub mod shim;
mod store;
pub mod task;
