//! Leases: who is alive, and who leads.
//!
//! * [`heartbeat`]: a worker keeps its Lease changing;
//! * [`observer`]: the operator judges, by its own clock, which Leases have stopped changing;
//! * [`election`]: one of several operators leads.
//!
//! No safety rests on this crate: counting is safe with any number of leaders and with workers that were wrongly given
//! up. Leases only save time, so everything here fails towards waiting a little longer.
//!
//! Three rules hold throughout. No clock of another machine is ever compared with ours: `renewTime` is written for
//! people, and only *that* it changed is looked at. Every call has a deadline, and a call without an answer is not a
//! call that failed: what is stored is read again before anything is concluded. Nothing runs by itself: each loop is a
//! future that its caller owns, cancels and joins.

pub mod call;
pub mod clock;
pub mod election;
pub mod heartbeat;
pub mod observer;

pub use call::CallError;
pub use clock::{Clock, Moment};
