//! A fault at one request: when it strikes, and what came of it.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::call::{Call, Edge};

/// When a fault strikes, seen from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// The sender is killed, and the request never arrives.
    Before,
    /// The request is carried out, then the sender is killed: it never has the answer.
    After,
    /// The request is carried out and its answer lost; the sender lives. Of a watch: the connection is cut.
    Lost,
    /// The sender is killed, and the request arrives when a later sender has done the same: a write of two.
    Late,
    /// Nothing comes for so long that Leases run out, then the connection is cut.
    Stalled,
}

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
            Self::Lost => "answer lost",
            Self::Late => "late",
            Self::Stalled => "stalled",
        })
    }
}

/// What a fault needs of the world outside. Both may take their time: the request is held.
pub trait Hands: Send + Sync {
    /// Whether the fault would hit something now; if not, the request goes on and the next one is looked at.
    fn counts(&self, call: &Call) -> bool;
    /// Ends the process that sent the request; on return it has ended.
    fn kill(&self, call: &Call);
}

/// What a fault has struck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The request.
    pub call: Call,
    /// How the server answered it; `None`: it was not passed on, or not answered.
    pub status: Option<u16>,
    /// Of a late one: whether it arrived after a later sender had done the same.
    pub overtaken: bool,
}

/// A fault that waits for its request.
pub(super) struct Fault {
    pub(super) edge: Edge,
    /// Only requests about this namespace, if they are about any.
    pub(super) namespace: String,
    pub(super) moment: Moment,
    /// How long a stalled one stalls, and a late one waits for its successor.
    pub(super) long: Duration,
    pub(super) hands: Box<dyn Hands>,
    hit: Sender<Hit>,
    taken: Mutex<bool>,
}

/// The other end of a fault: tells when it has struck.
pub struct Armed(Receiver<Hit>);

impl Armed {
    /// What was struck, if anything was within this time.
    pub fn wait(&self, patience: Duration) -> Option<Hit> {
        self.0.recv_timeout(patience).ok()
    }
}

impl Fault {
    pub(super) fn new(
        edge: Edge,
        namespace: &str,
        moment: Moment,
        long: Duration,
        hands: Box<dyn Hands>,
    ) -> (Self, Armed) {
        let (hit, seen) = channel();
        let fault = Self {
            edge,
            namespace: namespace.to_owned(),
            moment,
            long,
            hands,
            hit,
            taken: Mutex::new(false),
        };
        (fault, Armed(seen))
    }

    pub(super) fn is_for(&self, call: &Call) -> bool {
        let here =
            call.namespace == self.namespace || call.namespace.is_empty() || call.edge.resource == "leases/leader";
        self.edge == call.edge && here
    }

    /// Takes it for one request; false: another has it.
    pub(super) fn take(&self) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut *taken, true)
    }

    /// Puts it back.
    pub(super) fn leave(&self) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }

    pub(super) fn struck(&self, call: Call, status: Option<u16>, overtaken: bool) {
        // Whoever waited may have lost patience.
        let _ = self.hit.send(Hit {
            call,
            status,
            overtaken,
        });
    }
}
