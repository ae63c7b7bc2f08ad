//! Identities of traces and spans that follow from what they are of, so that nobody has to tell them to anybody.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

use crate::TelemetryError;

/// Which trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// Which span of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

impl TraceId {
    /// The trace of an object: its uid, which is as long; of what is no UUID a hash.
    #[must_use]
    pub fn of(uid: &str) -> Self {
        let digits: Vec<u8> = uid
            .chars()
            .filter(|digit| *digit != '-')
            .map_while(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        let whole = digits.len() == 32 && uid.chars().filter(|digit| *digit != '-').count() == 32;
        let bytes = if whole {
            digits
                .chunks(2)
                .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
                .collect()
        } else {
            Sha256::digest(uid).to_vec()
        };
        let mut id = [0; 16];
        id.iter_mut().zip(bytes).for_each(|(byte, from)| *byte = from);
        Self(id)
    }
}

impl SpanId {
    /// The span of something that has a name within all traces.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let mut id = [0; 8];
        id.iter_mut()
            .zip(Sha256::digest(name))
            .for_each(|(byte, from)| *byte = from);
        Self(id)
    }

    /// One that nobody else has.
    #[must_use]
    pub fn random() -> Self {
        // 0 is no identity.
        Self(rand::random_range(1..=u64::MAX).to_be_bytes())
    }
}

/// The name of a step's span in its run's trace: workers put shards below it, and do not know the operator that makes it.
#[must_use]
pub fn step(uid: &str, step: &str, round: i32) -> String {
    format!("{uid}/{step}/{round}")
}

/// The share of traces that are taken: the same ones by everybody.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio(f64);

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Default for Ratio {
    fn default() -> Self {
        Self(1.0)
    }
}

impl FromStr for Ratio {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        let share: f64 = text.parse()?;
        if (0.0..=1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err(TelemetryError::Ratio(share))
        }
    }
}

impl Ratio {
    /// Whether it takes a trace.
    #[must_use]
    pub fn takes(self, trace: TraceId) -> bool {
        // The last bytes of a uid are random, and as good as any hash.
        let [.., a, b, c, d] = trace.0;
        let place = f64::from(u32::from_be_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0);
        place < self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_uid_is_the_identity_of_its_trace() {
        let id = TraceId::of("0123abcd-0000-4000-8000-00000000FF07");
        assert_eq!(id.0[..4], [0x01, 0x23, 0xab, 0xcd]);
        assert_eq!(id.0[14..], [0xff, 0x07]);
        for odd in [
            "",
            "uid-1",
            "0123abcd",
            "0123abcd-0000-4000-8000-00000000FF07-more",
            "zz23abcd-0000-4000-8000-00000000FF07",
        ] {
            assert_ne!(TraceId::of(odd).0, [0; 16], "{odd}");
        }
        assert_ne!(TraceId::of("uid-1"), TraceId::of("uid-2"));
        assert_ne!(SpanId::of("a"), SpanId::of("b"));
    }

    #[test]
    fn a_share_takes_about_as_many_and_always_the_same() {
        let of = |share: &str| -> usize {
            let ratio: Ratio = share.parse().unwrap();
            (0..4_000)
                .filter(|n| ratio.takes(TraceId::of(&format!("run-{n}"))))
                .count()
        };
        assert_eq!((of("0"), of("1")), (0, 4_000));
        assert!((800..1_200).contains(&of("0.25")), "{}", of("0.25"));
        assert_eq!(of("0.25"), of("0.25"));
        for wrong in ["1.1", "-0.1", "NaN", "x", ""] {
            assert!(wrong.parse::<Ratio>().is_err(), "{wrong}");
        }
    }
}
