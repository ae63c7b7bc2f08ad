//! The protocol explored: an exhaustive model and a simulator of the very functions that production runs.
//!
//! What the operator decides is `braid_engine::protocol::{fold, handout, close, publish, retire}`, called here as it is
//! called there. What the API server does (versions, compare-and-swap, the rules of the `Worker` type), what the network
//! does (lost answers, late requests), and what processes do (die, pause, come back) is modelled. A [`tiny::Tiny`] world
//! has small identities and a content that remembers where every settlement came from, so that an invariant can see not
//! only *that* a partition was counted once but *which* attempt of which round was.
//!
//! * [`search`] explores breadth first, so that a trace to a violation is the shortest there is;
//! * [`invariants`] names what must hold in every state and at every step;
//! * [`configs`] states the bounds that are explored;
//! * [`mutation`] lists the ways to break the protocol, each of which must be caught.
//!
//! This crate is a test: it is not part of what is shipped, and stops on a broken assumption of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::missing_panics_doc)] // for the same reason
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // identities are tiny, and never negative

pub mod actor;
pub mod apply;
pub mod configs;
pub mod enabled;
pub mod fair;
pub mod guards;
pub mod invariants;
pub mod machine;
pub mod mutation;
pub mod search;
pub mod sim;
pub mod state;
pub mod tiny;
