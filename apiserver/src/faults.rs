//! Faults on demand: the answers, delays and losses that an API server and its network can produce.
//!
//! A rule says which requests it is for, what happens to them, and how often. Rules can be added and removed while the
//! server runs; each counts how often it struck. With [`Times::Probability`] the choices come from one seeded
//! generator, in the order in which requests arrive.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::route::{Subresource, Verb};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// 409 Conflict; nothing is written.
    Conflict,
    /// A watch is answered with 410 Expired: the client must list again.
    Gone,
    /// 429 with `Retry-After` in seconds; nothing is written.
    TooManyRequests {
        /// Seconds.
        retry_after: u32,
    },
    /// 500; nothing is written.
    InternalError,
    /// The request is carried out and its answer is lost: the connection breaks.
    LostAnswer,
    /// The request is carried out and answered with 504 all the same.
    LateTimeout,
    /// The request is carried out only after this time, even if its client has given up by then.
    Slow(Duration),
    /// The request is never carried out and never answered.
    Hang,
    /// An open watch ends instead of delivering an event. Other requests are not touched.
    DroppedWatch,
}

/// Which requests a rule is for. What is `None` matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The verb.
    pub verb: Option<Verb>,
    /// The plural of the kind.
    pub plural: Option<String>,
    /// The part of the object.
    pub subresource: Option<Subresource>,
    /// The name of the object, or for a watch the one name it is restricted to.
    pub name: Option<String>,
}

impl Target {
    /// All requests.
    pub fn any() -> Self {
        Self::default()
    }

    /// Only this verb.
    #[must_use]
    pub fn verb(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Only this kind, by its plural.
    #[must_use]
    pub fn plural(mut self, plural: impl Into<String>) -> Self {
        self.plural = Some(plural.into());
        self
    }

    /// Only `/status`.
    #[must_use]
    pub fn status(mut self) -> Self {
        self.subresource = Some(Subresource::Status);
        self
    }

    /// Only the object itself.
    #[must_use]
    pub fn main(mut self) -> Self {
        self.subresource = Some(Subresource::Main);
        self
    }

    /// Only this object.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    pub(crate) fn matches(&self, verb: Verb, plural: &str, subresource: Subresource, name: Option<&str>) -> bool {
        self.verb.is_none_or(|v| v == verb)
            && self.plural.as_deref().is_none_or(|p| p == plural)
            && self.subresource.is_none_or(|s| s == subresource)
            && self.name.as_deref().is_none_or(|n| Some(n) == name)
    }
}

/// How often a rule strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Times {
    /// The next matching request.
    Once,
    /// The next n.
    Count(u64),
    /// Each with this probability, until removed.
    Probability(f64),
    /// All, until removed.
    Always,
}

/// Names a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FaultId(u64);

struct Rule {
    id: FaultId,
    target: Target,
    fault: Fault,
    times: Times,
    struck: u64,
}

impl Rule {
    fn spent(&self) -> bool {
        match self.times {
            Times::Once => self.struck >= 1,
            Times::Count(n) => self.struck >= n,
            Times::Probability(_) | Times::Always => false,
        }
    }
}

struct Plan {
    rules: Vec<Rule>,
    next: u64,
    random: StdRng,
    outage: bool,
    refused_in_outage: u64,
}

/// The faults of one server: a handle, to be cloned freely.
#[derive(Clone)]
pub struct Faults(Arc<Mutex<Plan>>);

impl Default for Faults {
    fn default() -> Self {
        Self::seeded(0)
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plan = self.plan();
        f.debug_struct("Faults")
            .field("rules", &plan.rules.len())
            .field("outage", &plan.outage)
            .finish()
    }
}

impl Faults {
    /// No faults yet; probabilities are drawn from this seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Plan {
            rules: Vec::new(),
            next: 0,
            random: StdRng::seed_from_u64(seed),
            outage: false,
            refused_in_outage: 0,
        })))
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule. Of several that match a request, the oldest strikes.
    pub fn inject(&self, target: Target, fault: Fault, times: Times) -> FaultId {
        let mut plan = self.plan();
        let id = FaultId(plan.next);
        plan.next += 1;
        plan.rules.push(Rule {
            id,
            target,
            fault,
            times,
            struck: 0,
        });
        id
    }

    /// Removes a rule and says how often it struck; `None` if there is no such rule.
    pub fn remove(&self, id: FaultId) -> Option<u64> {
        let mut plan = self.plan();
        let index = plan.rules.iter().position(|rule| rule.id == id)?;
        Some(plan.rules.remove(index).struck)
    }

    /// Removes all rules and ends an outage.
    pub fn clear(&self) {
        let mut plan = self.plan();
        plan.rules.clear();
        plan.outage = false;
    }

    /// How often a rule struck.
    pub fn struck(&self, id: FaultId) -> u64 {
        self.plan()
            .rules
            .iter()
            .find(|rule| rule.id == id)
            .map_or(0, |rule| rule.struck)
    }

    /// While on, every request fails as if there were no server. Open watches are not ended by it.
    pub fn set_outage(&self, on: bool) {
        self.plan().outage = on;
    }

    /// Requests refused by outages so far.
    pub fn refused_in_outage(&self) -> u64 {
        self.plan().refused_in_outage
    }

    /// Counts and refuses a request during an outage.
    pub(crate) fn outage(&self) -> bool {
        let mut plan = self.plan();
        if plan.outage {
            plan.refused_in_outage += 1;
        }
        plan.outage
    }

    /// The fault for a request that arrives, if any.
    pub(crate) fn strike(
        &self,
        verb: Verb,
        plural: &str,
        subresource: Subresource,
        name: Option<&str>,
    ) -> Option<Fault> {
        self.pick(|rule| {
            rule.fault != Fault::DroppedWatch
                && (rule.fault != Fault::Gone || verb == Verb::Watch)
                && rule.target.matches(verb, plural, subresource, name)
        })
    }

    /// Does a watch end before this event?
    pub(crate) fn drops_watch(&self, plural: &str, name: &str) -> bool {
        let matches = |rule: &Rule| {
            rule.fault == Fault::DroppedWatch && rule.target.matches(Verb::Watch, plural, Subresource::Main, Some(name))
        };
        self.pick(matches).is_some()
    }

    fn pick(&self, matches: impl Fn(&Rule) -> bool) -> Option<Fault> {
        let mut plan = self.plan();
        let Plan { rules, random, .. } = &mut *plan;
        let rule = rules.iter_mut().find(|rule| {
            !rule.spent()
                && matches(rule)
                && match rule.times {
                    Times::Probability(p) => random.random_bool(p.clamp(0.0, 1.0)),
                    Times::Once | Times::Count(_) | Times::Always => true,
                }
        })?;
        rule.struck += 1;
        Some(rule.fault)
    }
}
