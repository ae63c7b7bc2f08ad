//! The secret by which a shim in a container of its own is known again.

use std::fmt;

/// What a worker gives to the first shim that it accepts, and asks of every later one. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkKey([u8; Self::BYTES]);

impl LinkKey {
    /// How long it is.
    pub const BYTES: usize = 32;

    /// A new one, which nobody can guess.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// From its bytes, if there are as many as must be.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is this one, in a time that says nothing about where they differ.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let differing = self.0.iter().zip(other.0).fold(0, |all, (one, two)| all | (one ^ two));
        std::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey(..)")
    }
}
