//! The accumulators of all results of a step.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use braid_crds::{
    limits,
    status::{StepResult, ValueType},
    worker::CardResult,
    workflow::{Reduce, ResultSpec, ResultType},
};

use super::{
    RawResults, ReduceError, canonical,
    declared::{Declared, Part},
    given::Text,
    number::Number,
    slot::{self, Cells, Slot},
};

/// The accumulators of all results of a step. The default is the fold of no partitions of whatever step.
///
/// Two folds are equal if they hold the same content: a result that nobody gave is no content.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    /// In the order of declaration; empty in the default, which takes the declarations of what is merged into it.
    slots: Vec<Slot>,
}

/// What one partition contributes, read and checked but not yet added.
#[derive(Clone, Debug)]
pub struct Contribution(Vec<(usize, Part)>);

impl Fold {
    /// The empty fold of a step.
    #[must_use]
    pub fn new(declared: &[CardResult]) -> Self {
        Self {
            slots: declared
                .iter()
                .map(|result| Slot::new(Arc::new(result.into())))
                .collect(),
        }
    }

    /// Takes over the declarations of `declared`, if this is a default fold and has none. Adding needs them, merging does
    /// not.
    pub fn declare(&mut self, declared: &Self) {
        if self.slots.is_empty() {
            self.slots = (declared.slots.iter())
                .map(|slot| Slot::new(Arc::clone(&slot.declared)))
                .collect();
        }
    }

    /// Whether there are declarations, or none are needed.
    #[must_use]
    pub fn is_declared(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Whether each partial is small enough for a commit.
    pub fn fits(&self) -> Result<(), ReduceError> {
        self.slots
            .iter()
            .try_for_each(|slot| slot.check_len(slot.encoded_len()))
    }

    /// Whether no partition has given anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.count == 0)
    }

    /// Adds what a partition gave: all of it, or on an error nothing.
    pub fn add(&mut self, partition: u64, raw: &RawResults<'_>) -> Result<(), ReduceError> {
        if self.add_bare_integer(raw) {
            return Ok(());
        }
        let contribution = self.read(partition, raw)?;
        self.apply(contribution)
    }

    /// The path of a step with one plain sum and programs that give a short number.
    fn add_bare_integer(&mut self, raw: &RawResults<'_>) -> bool {
        let [slot] = self.slots.as_mut_slice() else {
            return false;
        };
        let Cells::Plain(Some(cell)) = &mut slot.cells else {
            return false;
        };
        let Some(number) = short_integer(raw.0) else {
            return false;
        };
        let added = cell.add_to_sum(Number::Integer(number.into()));
        slot.count = slot.count.saturating_add(u64::from(added));
        added
    }

    /// Reads and checks what a partition gave, without adding it.
    pub fn read(&self, partition: u64, raw: &RawResults<'_>) -> Result<Contribution, ReduceError> {
        let mut parts = Vec::with_capacity(self.slots.len());
        let Some(text) = Text::document(raw.0).map_err(ReduceError::NotJson)? else {
            return Ok(Contribution(parts));
        };
        if let Some(bare) = self.bare(text) {
            if !text.is_null() {
                parts.extend(bare.declared.read(text, text, partition)?.map(|part| (0, part)));
            }
        } else {
            let members = text.members().ok_or_else(|| ReduceError::NotMap(text.kind()))?;
            let mut seen = vec![false; self.slots.len()];
            for (key, value) in members {
                let named = self.slots.iter().zip(&mut seen).enumerate();
                for (index, (slot, seen)) in named.filter(|(_, (slot, _))| slot.declared.from == key) {
                    if std::mem::replace(seen, true) {
                        return Err(ReduceError::Twice {
                            key: key.chars().take(40).collect(),
                        });
                    }
                    if !value.is_null() {
                        let part = slot.declared.read(value, text, partition)?;
                        parts.extend(part.map(|part| (index, part)));
                    }
                }
            }
        }
        for (index, part) in &parts {
            if let Some(slot) = self.slots.get(*index) {
                slot.admits(part)?;
            }
        }
        Ok(Contribution(parts))
    }

    /// The only result, if `text` is its value itself and not a map that names it.
    fn bare(&self, text: Text<'_>) -> Option<&Slot> {
        let [slot] = self.slots.as_slice() else { return None };
        let bare = match text.members() {
            None => true,
            Some(mut members) => slot.declared.keyed && !members.any(|(key, _)| key == slot.declared.from),
        };
        bare.then_some(slot)
    }

    /// Adds a contribution that this fold has read, also if others were added since.
    pub fn apply(&mut self, contribution: Contribution) -> Result<(), ReduceError> {
        for (index, part) in &contribution.0 {
            let slot = self.slots.get(*index);
            slot.ok_or_else(|| ReduceError::Different(String::new()))?
                .admits(part)?;
        }
        for (index, part) in contribution.0 {
            if let Some(slot) = self.slots.get_mut(index) {
                slot.add(part)?;
            }
        }
        Ok(())
    }

    /// By at most how many bytes a commit of this fold grows with `contribution`. An error if one of its partials would
    /// become too large: then what is here must be committed first. If there is nothing here yet, no commit can hold it,
    /// and the step cannot go on.
    pub fn growth(&self, contribution: &Contribution) -> Result<usize, ReduceError> {
        let mut growth = 0;
        for (index, part) in &contribution.0 {
            let Some(slot) = self.slots.get(*index) else { continue };
            let bytes = slot.len_with(part);
            slot.check_len(bytes)?;
            growth += if slot.count == 0 {
                slot.partial_len(bytes)
            } else {
                base64_len(bytes).saturating_sub(base64_len(slot.encoded_len()))
            };
        }
        Ok(growth)
    }

    /// Adds what other partitions gave. On an error `self` is unspecified.
    pub fn merge(&mut self, other: &Self) -> Result<(), ReduceError> {
        if self.slots.is_empty() {
            self.slots.clone_from(&other.slots);
            return Ok(());
        }
        if other.slots.is_empty() {
            return Ok(());
        }
        if self.slots.len() != other.slots.len() {
            return Err(ReduceError::Different(String::new()));
        }
        for (slot, other) in self.slots.iter_mut().zip(&other.slots) {
            slot.merge(other)?;
        }
        Ok(())
    }

    /// The bytes of the accumulators as a commit holds them: base64 and names. Does not encode anything.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.given().map(|slot| slot.partial_len(slot.encoded_len())).sum()
    }

    /// How many partitions gave the result of that name.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.slots
            .iter()
            .find(|slot| slot.declared.name == name)
            .map_or(0, |slot| slot.count)
    }

    fn given(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.count > 0)
    }

    pub(super) fn states(&self) -> impl Iterator<Item = (&str, String)> {
        self.given()
            .map(|slot| (slot.declared.name.as_str(), STANDARD.encode(slot.encode())))
    }

    pub(super) fn decode_states<'a>(
        declared: &[CardResult],
        states: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ReduceError> {
        let mut fold = Self::new(declared);
        for (name, state) in states {
            let known = fold.slots.iter_mut().find(|slot| slot.declared.name == name);
            let slot = known
                .filter(|slot| slot.count == 0)
                .ok_or_else(|| ReduceError::Different(name.chars().take(63).collect()))?;
            if state.len() > limits::STATUS_BYTES {
                return Err(ReduceError::TooLarge {
                    result: slot.declared.name.clone(),
                    bytes: state.len(),
                    max: limits::STATUS_BYTES,
                });
            }
            let bytes = STANDARD
                .decode(state)
                .map_err(|_| ReduceError::Base64(slot.declared.name.clone()))?;
            *slot = Slot::decode(&slot.declared, &bytes)?;
        }
        Ok(fold)
    }

    pub(super) fn result(&self, spec: &ResultSpec) -> StepResult {
        let name = &spec.name;
        let slot = self.slots.iter().find(|slot| slot.declared.name == *name);
        let count = slot.map_or(0, |slot| slot.count);
        let mut result = StepResult {
            name: name.clone(),
            count,
            state: slot
                .filter(|slot| slot.count > 0)
                .map(|slot| STANDARD.encode(slot.encode()))
                .unwrap_or_default(),
            ..StepResult::default()
        };
        if count == 0
            && let Some(default) = &spec.default
        {
            result.value = Some(canonical::kept(default));
            result.kind = kind_of_default(spec);
            return result;
        }
        let shown = match slot {
            Some(slot) => slot.shown(spec),
            None => slot::nothing(spec),
        };
        if let Some(shown) = shown {
            result.value = Some(shown.value);
            result.kind = Some(shown.kind);
            result.approximate = shown.error.is_some();
            result.error = shown.error.unwrap_or_default();
        }
        result
    }

    /// Whether no result can outgrow a commit as long as each partition gives a few bytes.
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.slots.iter().all(|slot| slot.declared.is_small())
    }

    fn content(&self) -> impl Iterator<Item = (&Declared, u64, &Cells)> {
        self.given().map(|slot| (&*slot.declared, slot.count, &slot.cells))
    }
}

impl PartialEq for Fold {
    fn eq(&self, other: &Self) -> bool {
        self.content().eq(other.content())
    }
}

impl Eq for Fold {}

impl Hash for Fold {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (declared, count, cells) in self.content() {
            (&declared.name, count, cells).hash(state);
        }
    }
}

/// What the numbers of a default are. Of sums and the like as it looks: it stands for what would have been given.
fn kind_of_default(spec: &ResultSpec) -> Option<ValueType> {
    match (spec.reduce, spec.kind) {
        (_, Some(ResultType::Decimal)) => Some(ValueType::Decimal),
        (Reduce::Mean | Reduce::Quantiles, _) => Some(ValueType::Number),
        (Reduce::First | Reduce::Last | Reduce::Collect | Reduce::All | Reduce::Any, _) => Some(ValueType::Json),
        _ => None,
    }
}

/// An integer of at most 18 digits, with a sign or without, and space around it.
fn short_integer(bytes: &[u8]) -> Option<i64> {
    let bytes = bytes.trim_ascii();
    let (negative, digits) = match bytes.split_first()? {
        (b'-', digits) => (true, digits),
        _ => (false, bytes),
    };
    // JSON has no leading zeros.
    let plain = matches!(digits, [b'0'] | [b'1'..=b'9', ..]) && digits.len() <= 18;
    if !plain {
        return None;
    }
    let mut number = 0_i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i64::from(digit - b'0');
    }
    Some(if negative { -number } else { number })
}

impl Slot {
    /// The bytes of a partial whose state takes so many: base64, the name, and what JSON puts around them.
    fn partial_len(&self, bytes: usize) -> usize {
        base64_len(bytes) + self.declared.name.len() + 24
    }
}

fn base64_len(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}
