//! Cards: the frozen program of a step and round, all that a worker needs to know besides its plan.
//!
//! A card is made once, when the step starts (and once before, for the shard that lists its files): expressions are
//! evaluated here and never again. Equal inputs give equal bytes, and the digest names those bytes, so that two operators that
//! make the same card make the same name.

use std::{collections::BTreeMap, fmt::Write as _};

use braid_crds::{
    CardDigest, WorkflowSpec, limits,
    status::PlanRef,
    worker::{
        Card, CardEnv, CardWrite, FilesSource, ItemsSource, KeysSource, RangeSource, ReadSource, ReadsSource, Source,
        WrittenBy,
    },
    workflow::{Data, Over, ReadRef, Retry, Step},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    defaults,
    expr::{ExprError, Scope, Template},
    items, params, reduce,
};

/// The first wait where `retry.backoff.initial` says nothing, in milliseconds.
pub const BACKOFF_INITIAL_MILLIS: u64 = 1_000;
/// The longest wait where `retry.backoff.max` says nothing, in milliseconds.
pub const BACKOFF_MAX_MILLIS: u64 = 60_000;
/// Bytes of an evaluated environment value.
pub const ENV_VALUE_BYTES: usize = 16_384;
/// Bytes of an evaluated path.
pub const URL_BYTES: usize = 4_096;

/// Why a step has no card.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// An environment value that cannot be evaluated.
    #[error("env {name}: {error}")]
    Env {
        /// The variable.
        name: String,
        /// Why.
        error: ExprError,
    },
    /// A path that cannot be evaluated.
    #[error("data {name}: url: {error}")]
    Url {
        /// The data.
        name: String,
        /// Why.
        error: ExprError,
    },
    /// A path that is empty, too long, or has a byte that no path has.
    #[error("data {name}: the url must have 1 to {URL_BYTES} bytes and none of them 0; evaluated it has {bytes}")]
    BadUrl {
        /// The data.
        name: String,
        /// How many it has.
        bytes: usize,
    },
    /// A value that no environment can hold.
    #[error("env {name}: the value has a byte 0, which an environment cannot hold")]
    Nul {
        /// The variable.
        name: String,
    },
    /// A value that is too long.
    #[error("env {name}: the value has {bytes} bytes, and {ENV_VALUE_BYTES} is the most: pass it in a file")]
    EnvTooLong {
        /// The variable.
        name: String,
        /// How many it has.
        bytes: usize,
    },
    /// More than a card holds.
    #[error(
        "command, args, script, env and params have {bytes} bytes together, and {} is the most: put a long script or value into a file",
        limits::CARD_BYTES
    )]
    TooLarge {
        /// How many there are.
        bytes: usize,
    },
    /// The step runs over data that there is not.
    #[error("there is no data {0:?}")]
    UnknownData(String),
}

/// Makes the card of a step. `scope` holds the resolved params and the steps before this one; `plan` is the step's pinned
/// plan, absent where none is needed and in the shard that makes it.
pub fn build(spec: &WorkflowSpec, step: &Step, plan: Option<&PlanRef>, scope: &Scope) -> Result<Card, CardError> {
    let run = &step.run;
    let retry = defaults::retry(spec, step);
    let (initial, max) = backoff(retry);
    let millis = |duration: &braid_crds::Duration| u64::try_from(duration.get().as_millis()).unwrap_or(u64::MAX);
    let mut card = Card {
        digest: CardDigest::default(),
        command: run.command.clone(),
        args: run.args.clone(),
        script: run.script.clone(),
        serve: run.serve.clone(),
        function: run.function.clone(),
        code: run.code.clone(),
        env: env(step, scope)?,
        concurrency: run.concurrency.unwrap_or(1),
        source: source(spec, step.over.as_ref(), plan, scope)?,
        reads: reads(spec, &step.reads, plan, scope)?,
        writes: writes(spec, step, scope)?,
        emit: match &step.emit {
            None => None,
            Some(emit) => Some(write(spec, &emit.to, scope)?),
        },
        checkpoint: run
            .checkpoint
            .as_ref()
            .map(|checkpoint| (checkpoint.size.as_ref()).map_or(limits::CHECKPOINT_BYTES, braid_crds::ByteSize::get)),
        results: reduce::declared(&step.results),
        attempts: retry.and_then(|retry| retry.attempts).unwrap_or(1),
        backoff_initial_millis: initial,
        backoff_max_millis: max,
        partition_timeout_millis: defaults::partition_timeout(spec, step).map_or(0, millis),
        rules: retry.map(|retry| retry.rules.clone()).unwrap_or_default(),
        worker_deaths: retry.and_then(|retry| retry.worker_deaths),
        first_uid: scope.workflow.first_uid.clone(),
    };
    let bytes = canonical(&card);
    if bytes.len() > limits::CARD_BYTES {
        return Err(CardError::TooLarge { bytes: bytes.len() });
    }
    card.digest = digest(&bytes);
    Ok(card)
}

/// Whether a card is what its digest names.
#[must_use]
pub fn is_intact(card: &Card) -> bool {
    digest(&canonical(card)) == card.digest
}

/// The waits before the second attempt and at most, in milliseconds.
#[must_use]
pub fn backoff(retry: Option<&Retry>) -> (u64, u64) {
    let backoff = retry.and_then(|retry| retry.backoff.as_ref());
    let millis = |duration: Option<&braid_crds::Duration>, absent: u64| {
        duration.map_or(absent, |duration| {
            u64::try_from(duration.get().as_millis()).unwrap_or(u64::MAX)
        })
    };
    let max = millis(backoff.and_then(|backoff| backoff.max.as_ref()), BACKOFF_MAX_MILLIS);
    let initial = backoff.and_then(|backoff| backoff.initial.as_ref());
    (millis(initial, BACKOFF_INITIAL_MILLIS.min(max)), max)
}

fn env(step: &Step, scope: &Scope) -> Result<Vec<CardEnv>, CardError> {
    let mut env = Vec::new();
    // What has a source is in the container already.
    for variable in step.run.env.iter().filter(|variable| variable.value_from.is_none()) {
        let value = Template::parse(&variable.value).and_then(|template| template.render(scope));
        let value = value.map_err(|error| CardError::Env {
            name: variable.name.clone(),
            error,
        })?;
        env.push((variable.name.clone(), value));
    }
    for (name, value) in &scope.params {
        env.push((params::env_name(name), params::env_value(value)));
    }
    env.into_iter()
        .map(|(name, value)| {
            if value.contains('\0') {
                Err(CardError::Nul { name })
            } else if value.len() > ENV_VALUE_BYTES {
                let bytes = value.len();
                Err(CardError::EnvTooLong { name, bytes })
            } else {
                Ok(CardEnv { name, value })
            }
        })
        .collect()
}

/// Where the partitions' files go, in the order of the data's names.
fn writes(spec: &WorkflowSpec, step: &Step, scope: &Scope) -> Result<Vec<CardWrite>, CardError> {
    let mut names: Vec<&str> = step.writes.iter().map(|write| write.data.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| write(spec, name, scope)).collect()
}

fn write(spec: &WorkflowSpec, name: &str, scope: &Scope) -> Result<CardWrite, CardError> {
    let (_, url) = located(&spec.data, name, scope)?;
    Ok(CardWrite {
        data: name.to_owned(),
        url,
    })
}

/// The data that a step writes: those of its partitions, then that of its results.
pub fn written(step: &Step) -> impl Iterator<Item = &str> {
    let results = step.emit.iter().map(|emit| emit.to.as_str());
    step.writes.iter().map(|write| write.data.as_str()).chain(results)
}

/// The step that writes data.
#[must_use]
pub fn writer<'a>(spec: &'a WorkflowSpec, data: &str) -> Option<&'a Step> {
    spec.steps.iter().find(|step| written(step).any(|name| name == data))
}

/// The data in whose directory the parts are that a step is shuffled into; `None`: it is not.
#[must_use]
pub fn shuffled_through(step: &Step) -> Option<&str> {
    let over = step.over.as_ref()?;
    let keys = over.split.as_ref()?.keys.as_ref()?;
    keys.through.as_deref().or(over.data.as_deref())
}

fn written_by(spec: &WorkflowSpec, data: &str, scope: &Scope) -> Option<WrittenBy> {
    writer(spec, data).map(|step| WrittenBy {
        step: step.name.clone(),
        data: data.to_owned(),
        // What is emitted is emitted on a condition.
        published: step.writes.iter().any(|write| write.data == data)
            && scope.steps.get(&step.name).is_some_and(|known| known.succeeded > 0),
    })
}

fn source(
    spec: &WorkflowSpec,
    over: Option<&Over>,
    plan: Option<&PlanRef>,
    scope: &Scope,
) -> Result<Source, CardError> {
    let mut source = Source::default();
    let Some(over) = over else { return Ok(source) };
    let chunks = plan.map_or(0, |plan| plan.chunks);
    if let Some(range) = &over.range {
        source.range = Some(RangeSource {
            start: range.start,
            step: range.step,
        });
    }
    if items::are_of(over) {
        source.items = Some(ItemsSource { chunks });
    }
    if let Some(name) = &over.data {
        let (data, url) = located(&spec.data, name, scope)?;
        let split = over.split.as_ref();
        let number = |count: Option<i32>| u64::try_from(count.unwrap_or(0)).unwrap_or(0);
        source.files = Some(FilesSource {
            url,
            files: split.and_then(|split| split.files).unwrap_or(0),
            bytes: split
                .and_then(|split| split.bytes.as_ref())
                .map_or(0, braid_crds::ByteSize::get),
            rows: number(split.and_then(|split| split.rows)),
            row_groups: number(split.and_then(|split| split.row_groups)),
            columns: split.map(|split| split.columns.clone()).unwrap_or_default(),
            keys: match split.and_then(|split| split.keys.as_ref()) {
                None => None,
                Some(keys) => Some(KeysSource {
                    by: keys.by.clone(),
                    into: keys.into,
                    through: match &keys.through {
                        None => None,
                        Some(through) => Some(located(&spec.data, through, scope)?.1),
                    },
                }),
            },
            format: data.files.format.into(),
            written_by: written_by(spec, name, scope),
            chunks,
        });
    }
    Ok(source)
}

/// The side inputs, in the order of their names: a plan has them so.
fn reads(
    spec: &WorkflowSpec,
    reads: &[ReadRef],
    plan: Option<&PlanRef>,
    scope: &Scope,
) -> Result<Option<ReadsSource>, CardError> {
    if reads.is_empty() {
        return Ok(None);
    }
    let mut names: Vec<&str> = reads.iter().map(|read| read.data.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let source = |name: &str| {
        let (data, url) = located(&spec.data, name, scope)?;
        Ok(ReadSource {
            data: name.to_owned(),
            url,
            format: data.files.format.into(),
            written_by: written_by(spec, name, scope),
        })
    };
    Ok(Some(ReadsSource {
        data: names.into_iter().map(source).collect::<Result<_, CardError>>()?,
        chunks: plan.map_or(0, |plan| plan.chunks),
    }))
}

/// The data of that name, and its path with its glob, evaluated.
fn located<'a>(data: &'a [Data], name: &str, scope: &Scope) -> Result<(&'a Data, String), CardError> {
    let data = data.iter().find(|data| data.name == *name);
    let data = data.ok_or_else(|| CardError::UnknownData(name.to_owned()))?;
    let url = Template::parse(&data.files.url).and_then(|template| template.render(scope));
    let url = url.map_err(|error| CardError::Url {
        name: name.to_owned(),
        error,
    })?;
    if url.is_empty() || url.len() > URL_BYTES || url.contains('\0') {
        let bytes = url.len();
        return Err(CardError::BadUrl {
            name: name.to_owned(),
            bytes,
        });
    }
    // A volume is mounted under the name of its data.
    let url = if data.files.volume.is_some() {
        format!("{name}/{url}")
    } else {
        url
    };
    Ok((data, url))
}

/// The card's bytes without its digest: JSON without blanks, the fields of each object in the order of their names.
fn canonical(card: &Card) -> Vec<u8> {
    let mut value = serde_json::to_value(card).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.remove("digest");
    }
    sorted(value).to_string().into_bytes()
}

/// The same value with the keys of all objects in order: equal values are equal texts then, whatever wrote them.
#[must_use]
pub fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> =
                fields.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(fields.into_iter().collect())
        }
        other => other,
    }
}

fn digest(bytes: &[u8]) -> CardDigest {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    CardDigest(text)
}

#[cfg(test)]
mod tests;
