//! Reducers: what is made of the results of partitions, exactly.
//!
//! A [`Fold`] holds the accumulators of all results of a step. Folding is exactly associative and commutative: whatever
//! the split of the partitions, the order and the number of re-runs, equal results give equal bytes. So sums are never
//! rounded while they grow (doubles are added in fixed point, integers beyond 128 bits keep all their digits), ties are
//! broken by partition, and every content has one encoding.
//!
//! What is folded comes from users' programs, what is decoded comes from a status that anybody may have edited. Either
//! may be refused ([`ReduceError`]), neither can make this module panic or hold more than the input's own size. A refused
//! partition leaves the fold as it was.
//!
//! How results are read: a partition gives one JSON map; a key that is missing, or `null`, contributes nothing. Where
//! exactly one result is declared, a bare value will do: a number, or of a keyed result the map itself if it has no
//! member of the result's name. Nothing at all is a valid answer.

use braid_crds::{
    status::StepResult,
    worker::{CardResult, Partial},
    workflow::{Reduce, ResultSpec},
};
use serde_json::Value;

mod canonical;
mod cell;
mod decimal;
mod declared;
mod distinct;
mod exact;
mod fold;
mod given;
mod list;
mod mean;
mod number;
mod pick;
mod quantiles;
mod slot;
mod sum;

pub use fold::{Contribution, Fold};
pub use given::{Members, Text};
pub(crate) use number::float as float_json;
pub use slot::MAX_KEYS;

use decimal::Decimal;
use number::Number;

use crate::varint::ReadError;

/// The JSON that a partition gave as its results: `$BRAID_RESULTS` or a function's value. Empty: it gave none.
#[derive(Clone, Copy, Debug)]
pub struct RawResults<'a>(pub &'a [u8]);

/// Why something cannot be folded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReduceError {
    /// A partition's results are no JSON.
    #[error("the results are not JSON: {0}; write one JSON map with a key for each result")]
    NotJson(String),
    /// A partition's results are JSON of a wrong shape.
    #[error("the results are {0}; write one JSON map with a key for each result")]
    NotMap(String),
    /// A partition gave one key two times.
    #[error("the results hold the key {key:?} twice; write each key once")]
    Twice {
        /// The key, cut to 40 characters.
        key: String,
    },
    /// A partition gave a result that its reducer cannot take.
    #[error("the result {result} is {found}; it must be {needed}")]
    BadResult {
        /// The result; of a keyed one with the key.
        result: String,
        /// What was given.
        found: String,
        /// What its reducer takes.
        needed: &'static str,
    },
    /// More keys than declared, in one partition or in all together. No retry helps: the step cannot succeed.
    #[error("the result {result} has more than {max} keys; raise maxKeys, or give fewer keys")]
    TooManyKeys {
        /// The result.
        result: String,
        /// The most that it may have.
        max: usize,
    },
    /// More bytes than a commit may hold. If a single partition does this, the step cannot succeed.
    #[error("the result {result} takes {bytes} bytes, at most {max} can be committed; give fewer or shorter keys")]
    TooLarge {
        /// The result.
        result: String,
        /// Its size.
        bytes: usize,
        /// The cap.
        max: usize,
    },
    /// Two folds of different declarations, or a state of a result that is not declared.
    #[error("the result {0:?} is not declared alike on both sides")]
    Different(String),
    /// A state that no fold has written.
    #[error("the state of the result {0:?} does not read: {1}")]
    Malformed(String, ReadError),
    /// A state that is not base64.
    #[error("the state of the result {0:?} is not base64")]
    Base64(String),
}

impl ReduceError {
    /// Whether the fault is in what one partition gave: it fails with the reason `BadResult`, the others go on.
    /// Otherwise the step as a whole cannot go on.
    #[must_use]
    pub fn is_of_partition(&self) -> bool {
        matches!(
            self,
            Self::NotJson(_) | Self::NotMap(_) | Self::Twice { .. } | Self::BadResult { .. }
        )
    }
}

/// The declarations as a worker folds them, with defaults filled in.
#[must_use]
pub fn declared(results: &[ResultSpec]) -> Vec<CardResult> {
    results
        .iter()
        .map(|result| CardResult {
            name: result.name.clone(),
            from: result.from.clone().unwrap_or_else(|| result.name.clone()),
            reduce: result.reduce,
            kind: result.kind,
            carry: result.carry.clone(),
            keyed: result.keyed,
            max_keys: if result.keyed {
                result.max_keys.unwrap_or(MAX_KEYS)
            } else {
                0
            },
        })
        .collect()
}

/// About so many bytes of a commit and of a status a result's sketches may take. Of other results nobody knows before; what they
/// take is seen before it is committed.
#[must_use]
pub fn room(result: &ResultSpec) -> usize {
    let keys = if result.keyed {
        usize::try_from(result.max_keys.unwrap_or(MAX_KEYS)).unwrap_or(1)
    } else {
        1
    };
    let bytes = match result.reduce {
        Reduce::Quantiles => quantiles::usual_len(keys),
        Reduce::Distinct if result.keyed => keys.saturating_mul(distinct::most_len(distinct::precision_with(keys))),
        Reduce::Distinct => distinct::most_len(distinct::PRECISION),
        _ => 0,
    };
    bytes.div_ceil(3).saturating_mul(4)
}

/// Whether a value is a number that a reducer may show: JSON's, or the text of a whole one beyond 2^53.
#[must_use]
pub fn is_number(value: &Value) -> bool {
    value.is_number() || (value.as_str()).is_some_and(|text| Number::parse(text).is_some_and(Number::is_integer))
}

/// Whether a value is a decimal number as a reducer shows it: a text.
#[must_use]
pub fn is_decimal(value: &Value) -> bool {
    value.as_str().is_some_and(|text| Decimal::parse(text).is_some())
}

impl Fold {
    /// Reads the accumulators of a step's status.
    pub fn from_results(declared: &[CardResult], results: &[StepResult]) -> Result<Self, ReduceError> {
        let states = results
            .iter()
            .map(|result| (result.name.as_str(), result.state.as_str()));
        Self::decode_states(declared, states.filter(|(_, state)| !state.is_empty()))
    }

    /// Reads the accumulators of a commit.
    pub fn decode(declared: &[CardResult], partials: &[Partial]) -> Result<Self, ReduceError> {
        Self::decode_states(
            declared,
            partials
                .iter()
                .map(|partial| (partial.name.as_str(), partial.state.as_str())),
        )
    }

    /// The accumulators for a commit, in the order of declaration. A result that nobody gave has none.
    #[must_use]
    pub fn encode(&self) -> Vec<Partial> {
        self.states()
            .map(|(name, state)| Partial {
                name: name.to_owned(),
                state,
            })
            .collect()
    }

    /// What a status shows of the step's results, in the order of declaration.
    #[must_use]
    pub fn results(&self, specs: &[ResultSpec]) -> Vec<StepResult> {
        specs.iter().map(|spec| self.result(spec)).collect()
    }
}

#[cfg(test)]
mod tests;
