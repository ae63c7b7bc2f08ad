//! Braid's pure core: what is decided, without where it is done.
//!
//! Nothing here reads a clock, a file or a socket: time is an argument, randomness is an argument, and the result of a
//! decision is a value. So the same code runs in the operator, in the worker, in the exhaustive model and in the
//! simulator.

pub mod assign;
pub mod card;
pub mod cover;
pub mod dag;
pub mod defaults;
pub mod emission;
pub mod expr;
pub mod fit;
mod hash;
pub mod items;
pub mod matrix;
pub mod outputs;
pub mod parallelism;
pub mod params;
pub mod parquet;
pub mod plan;
pub mod protocol;
pub mod reduce;
pub mod repeat;
pub mod resume;
pub mod retry;
pub mod scale;
pub mod settlement;
pub mod share;
pub mod shuffle;
pub mod suggest;
pub mod validate;
mod varint;
