//! The parts of the command line that are of use without it: reading manifests, and telling what is wrong with them.

pub mod lint;
pub mod manifest;
