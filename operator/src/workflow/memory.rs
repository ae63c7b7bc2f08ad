//! What an operator remembers of a run between passes. None of it is needed: a new leader begins without.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use braid_crds::{PlanDigest, Round, ShardId, worker::Card};
use braid_engine::{
    assign::Watched,
    expr::{ExprError, Expression},
};

use super::traces::Begun;
use crate::standing::PoolKey;

/// Shards that may be cut or sealed per second to feed idle workers.
const CUTS_PER_SECOND: f64 = 10.0;
/// How many of them at once.
const CUTS_AT_ONCE: f64 = 20.0;

/// Since when a first open shard has been watched.
#[derive(Clone, Copy, Debug)]
pub struct Since {
    running: Instant,
    cut: Option<Instant>,
}

impl Since {
    /// As ages.
    pub fn ages(self) -> Watched {
        let millis = |since: Instant| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        Watched {
            running_millis: millis(self.running),
            cut_millis: self.cut.map(millis),
        }
    }
}

/// Expressions by their text, each parsed once. They are of one immutable spec, so there are few.
#[derive(Debug, Default)]
pub struct Compiled(HashMap<String, Expression>);

impl Compiled {
    /// The expression of a text.
    pub fn get(&mut self, text: &str) -> Result<&Expression, ExprError> {
        if !self.0.contains_key(text) {
            self.0.insert(text.to_owned(), Expression::parse(text)?);
        }
        self.0.get(text).ok_or(ExprError::TooMuchWork)
    }
}

/// What is remembered of one run.
#[derive(Debug)]
pub struct Memory {
    /// When the status was last written.
    pub written: Option<Instant>,
    /// The bytes of the status then.
    pub written_bytes: usize,
    /// The programs of steps, as they were built.
    pub cards: HashMap<(String, Round), Card>,
    /// The first open shards.
    pub watched: HashMap<(String, ShardId), Since>,
    /// Shards that were counted and have not left their desks.
    pub folded: BTreeSet<(String, ShardId)>,
    /// Since when shards that are not counted have been seen sealed.
    pub sealed: HashMap<(String, ShardId), Instant>,
    /// When steps began.
    pub begun: Begun,
    /// Since when the run has been seen ended.
    pub ended: Option<Instant>,
    /// Passes in a row that met a write of somebody else.
    pub races: u32,
    /// Since when pools have had more workers than there is work for, by name.
    idle: HashMap<String, Instant>,
    /// Workers of standing pools that the run could use when that was last told, by pool.
    wants: HashMap<PoolKey, u64>,
    /// Plans that are known to be where the workers of pools elsewhere read them: step, plan, and the pool's uid.
    pub lent: BTreeSet<(String, PlanDigest, String)>,
    /// Conditions that are asked again and again.
    pub compiled: Compiled,
    /// Whether the spec was found to be in order, and at which generation.
    pub validated: Option<i64>,
    cuts: f64,
    cuts_at: Instant,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            written: None,
            written_bytes: 0,
            cards: HashMap::new(),
            watched: HashMap::new(),
            folded: BTreeSet::new(),
            sealed: HashMap::new(),
            begun: Begun::new(),
            ended: None,
            races: 0,
            idle: HashMap::new(),
            wants: HashMap::new(),
            lent: BTreeSet::new(),
            compiled: Compiled::default(),
            validated: None,
            cuts: CUTS_AT_ONCE,
            cuts_at: Instant::now(),
        }
    }
}

impl Memory {
    /// Since when a first open shard has been watched: now, if it is new.
    pub fn watch(&self, key: &(String, ShardId), cut: bool) -> Since {
        let known = self.watched.get(key).copied();
        let since = known.unwrap_or(Since {
            running: Instant::now(),
            cut: None,
        });
        Since {
            cut: cut.then(|| since.cut.unwrap_or_else(Instant::now)),
            ..since
        }
    }

    /// For how long a pool has had more workers than there is work for, in milliseconds.
    pub fn idle(&mut self, pool: &str, is_idle: bool) -> u64 {
        if !is_idle {
            self.idle.remove(pool);
            return 0;
        }
        let since = self.idle.entry(pool.to_owned()).or_insert_with(Instant::now);
        u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes how many workers of a standing pool the run could use. Whether that is news.
    pub fn wants(&mut self, pool: PoolKey, workers: u64) -> bool {
        self.wants.insert(pool, workers) != Some(workers)
    }

    /// How many shards may be cut now.
    pub fn cuts(&mut self) -> usize {
        let now = Instant::now();
        let earned = now.duration_since(self.cuts_at).as_secs_f64() * CUTS_PER_SECOND;
        self.cuts = (self.cuts + earned).min(CUTS_AT_ONCE);
        self.cuts_at = now;
        // Between 0 and CUTS_AT_ONCE by construction.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = self.cuts as usize;
        whole
    }

    /// So many were cut.
    pub fn spend_cuts(&mut self, count: usize) {
        self.cuts = (self.cuts - f64::from(u32::try_from(count).unwrap_or(u32::MAX))).max(0.0);
    }

    /// How long until the status may be written again if nothing urgent is in it: `shortest`, or what keeps a large
    /// status below 20 kB/s.
    pub fn status_rests(&self, shortest: Duration) -> Duration {
        let interval = shortest.max(Duration::from_millis(self.written_bytes as u64 / 20));
        self.written
            .map_or(Duration::ZERO, |written| interval.saturating_sub(written.elapsed()))
    }
}
