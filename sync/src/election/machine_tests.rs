//! Two candidates, one Lease, one time: every interleaving of steps, late and lost answers, pauses and releases within
//! the horizon.

use std::{
    collections::{HashSet, VecDeque},
    hash::{Hash as _, Hasher as _},
    time::Duration,
};

use proptest::prelude::*;

use super::machine::*;
use crate::Moment;

const SECOND: Duration = Duration::from_secs(1);

fn at(second: u32) -> Moment {
    Moment::at(SECOND * second)
}

fn times(duration: u32, renew_deadline: u32) -> Times {
    Times {
        duration: SECOND * duration,
        renew_deadline: SECOND * renew_deadline,
        retry_period: SECOND,
        call_deadline: SECOND,
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Request {
    Read,
    Write(Claim),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Reply {
    Read(Option<Stored>),
    Written(Written),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Flight {
    sent: Moment,
    request: Request,
    reply: Option<Reply>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Candidate {
    machine: Machine,
    flight: Option<Flight>,
    /// A write that was given up, and may still arrive.
    ghost: Option<Claim>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    second: u32,
    lease: Option<Stored>,
    version: u32,
    candidates: Vec<Candidate>,
    /// How many writes may still be lost.
    losses: u8,
    /// How many releases there may still be.
    releases: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Event {
    Tick,
    Step(usize),
    Arrive(usize),
    Answer(usize),
    Lose(usize),
    ArriveLate(usize),
    Release(usize),
}

/// What a wrong candidate would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    None,
    /// Counts the lead from the answer, not from the sending.
    LeadFromAnswer,
    /// Believes a write that was not answered.
    BelieveDoubt,
    /// Others wait for a shorter time than leaders lead.
    ShortWait,
    /// Writes carry no version.
    NoVersion,
}

impl World {
    fn new(mutation: Mutation) -> Self {
        let times = if mutation == Mutation::ShortWait {
            times(2, 3)
        } else {
            times(3, 2)
        };
        Self {
            second: 0,
            lease: None,
            version: 0,
            candidates: ["a", "b"]
                .into_iter()
                .map(|name| Candidate {
                    machine: Machine::new(name.to_owned(), times, at(0)),
                    flight: None,
                    ghost: None,
                })
                .collect(),
            losses: 1,
            releases: 1,
        }
    }

    /// One candidate leads, the other has just seen it.
    fn led(mutation: Mutation) -> Self {
        let path = [
            Event::Step(0),
            Event::Answer(0),
            Event::Step(0),
            Event::Arrive(0),
            Event::Answer(0),
            Event::Step(1),
            Event::Answer(1),
        ];
        path.into_iter().fold(Self::new(mutation), |world, event| {
            world.after(event, mutation).expect("possible")
        })
    }

    fn apply(&mut self, claim: &Claim, mutation: Mutation, duration: Duration) -> Written {
        let version = self.lease.as_ref().map(|lease| lease.version.clone());
        if version != claim.over && mutation != Mutation::NoVersion {
            return Written::Refused;
        }
        self.version += 1;
        self.lease = Some(Stored {
            version: self.version.to_string(),
            holder: claim.holder.clone(),
            term: claim.term,
            duration,
        });
        Written::Done(self.version.to_string())
    }

    /// The world after an event; `None` if it cannot happen now.
    fn after(&self, event: Event, mutation: Mutation) -> Option<Self> {
        let mut world = self.clone();
        let now = at(self.second);
        let duration = if mutation == Mutation::ShortWait {
            SECOND * 2
        } else {
            SECOND * 3
        };
        match event {
            Event::Tick => world.second += 1,
            Event::Step(who) => {
                let candidate = &mut world.candidates[who];
                if candidate.flight.is_some() {
                    return None;
                }
                let request = match candidate.machine.next(now) {
                    Next::Wait(_) => return (world != *self).then_some(world),
                    Next::Read => Request::Read,
                    Next::Write(claim) => Request::Write(claim),
                };
                // A read that arrives late is no different from one that is sent late: its sending is not looked at.
                let reply = (request == Request::Read).then(|| Reply::Read(world.lease.clone()));
                candidate.flight = Some(Flight {
                    sent: now,
                    request,
                    reply,
                });
            }
            Event::Arrive(who) => {
                let flight = world.candidates[who]
                    .flight
                    .clone()
                    .filter(|flight| flight.reply.is_none())?;
                let Request::Write(claim) = &flight.request else {
                    return None;
                };
                let reply = Reply::Written(world.apply(claim, mutation, duration));
                world.candidates[who].flight = Some(Flight {
                    reply: Some(reply),
                    ..flight
                });
            }
            Event::Answer(who) => {
                let candidate = &mut world.candidates[who];
                let flight = candidate.flight.take()?;
                match (flight.request, flight.reply?) {
                    (Request::Write(claim), Reply::Written(written)) => {
                        let sent = if mutation == Mutation::LeadFromAnswer {
                            now
                        } else {
                            flight.sent
                        };
                        candidate.machine.written(sent, now, &claim, written);
                    }
                    (_, Reply::Read(stored)) => candidate.machine.read(now, stored),
                    (Request::Read, Reply::Written(_)) => unreachable!("a read is answered as a read"),
                }
            }
            Event::Lose(who) => {
                let candidate = &mut world.candidates[who];
                let flight = candidate.flight.take()?;
                match flight.request {
                    // Like a pause.
                    Request::Read => return None,
                    Request::Write(claim) => {
                        world.losses = world.losses.checked_sub(1)?;
                        let outcome = if mutation == Mutation::BelieveDoubt {
                            Written::Done((self.version + 1).to_string())
                        } else {
                            Written::Doubtful
                        };
                        candidate.machine.written(flight.sent, now, &claim, outcome);
                        if flight.reply.is_none() {
                            candidate.ghost = Some(claim);
                        }
                    }
                }
            }
            Event::ArriveLate(who) => {
                let claim = world.candidates[who].ghost.take()?;
                world.apply(&claim, mutation, duration);
            }
            Event::Release(who) => {
                let candidate = &mut world.candidates[who];
                if candidate.flight.is_some() {
                    return None;
                }
                candidate.ghost = Some(candidate.machine.release(now)?);
                world.releases = world.releases.checked_sub(1)?;
            }
        }
        Some(world)
    }

    fn leaders(&self) -> usize {
        self.candidates
            .iter()
            .filter(|candidate| candidate.machine.leads(at(self.second)).is_some())
            .count()
    }
}

fn events() -> Vec<Event> {
    let mut events = vec![Event::Tick];
    for who in 0..2 {
        events.extend([
            Event::Step(who),
            Event::Arrive(who),
            Event::Answer(who),
            Event::Lose(who),
            Event::ArriveLate(who),
            Event::Release(who),
        ]);
    }
    events
}

struct Explored {
    worlds: usize,
    two_leaders: bool,
    terms: u64,
    /// The second candidate came to lead though the first had not released.
    taken_over: bool,
    seen: HashSet<Event>,
}

/// Worlds are told apart by 64 bits: among a million, two different ones are taken for one with probability 3e-8.
fn fingerprint(world: &World) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

/// Every world within `horizon` seconds, or until two lead.
fn explore(start: World, mutation: Mutation, horizon: u32, stop_at: usize) -> Explored {
    let mut known = HashSet::from([fingerprint(&start)]);
    let mut open = VecDeque::from([start]);
    let mut explored = Explored {
        worlds: 0,
        two_leaders: false,
        terms: 0,
        taken_over: false,
        seen: HashSet::new(),
    };
    while let Some(world) = open.pop_front() {
        explored.terms = explored.terms.max(world.lease.as_ref().map_or(0, |lease| lease.term));
        explored.taken_over |= world.releases == 1 && world.candidates[1].machine.leads(at(world.second)).is_some();
        if world.leaders() > 1 {
            explored.two_leaders = true;
            break;
        }
        for event in events() {
            if event == Event::Tick && world.second == horizon {
                continue;
            }
            if let Some(next) = world.after(event, mutation)
                && known.len() < stop_at
                && known.insert(fingerprint(&next))
            {
                explored.seen.insert(event);
                open.push_back(next);
            }
        }
    }
    explored.worlds = known.len();
    explored
}

#[test]
fn never_two_leaders_in_any_interleaving() {
    let explored = explore(World::new(Mutation::None), Mutation::None, 3, usize::MAX);
    println!("from nothing: {} worlds, {} terms", explored.worlds, explored.terms);
    assert!(!explored.two_leaders);
    let explored = explore(World::led(Mutation::None), Mutation::None, 4, usize::MAX);
    println!("from a leader: {} worlds, {} terms", explored.worlds, explored.terms);
    assert!(!explored.two_leaders);
    assert!(explored.taken_over, "nobody ever took over: the horizon is too near");
    assert_eq!(
        explored.seen.len(),
        events().len(),
        "some event never happened: {:?}",
        explored.seen
    );
}

#[test]
fn the_exploration_finds_wrong_candidates() {
    for mutation in [
        Mutation::LeadFromAnswer,
        Mutation::BelieveDoubt,
        Mutation::ShortWait,
        Mutation::NoVersion,
    ] {
        let explored = explore(World::led(mutation), mutation, 5, 3_000_000);
        println!("{mutation:?}: {} worlds", explored.worlds);
        assert!(
            explored.two_leaders,
            "{mutation:?} was not found in {} worlds",
            explored.worlds
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Long walks by chance: never two leaders; and when the faults end, somebody leads soon, and only one.
    #[test]
    fn long_walks_are_safe_and_end_well(choices in prop::collection::vec(0usize..64, 1..600)) {
        let all = events();
        let mut world = World::new(Mutation::None);
        for choice in choices {
            if let Some(next) = world.after(all[choice % all.len()], Mutation::None) {
                world = next;
                (world.losses, world.releases) = (1, 1);
            }
            prop_assert!(world.leaders() <= 1, "{world:?}");
        }
        for _ in 0..12 {
            for who in [0, 1] {
                for event in [Event::ArriveLate(who), Event::Arrive(who), Event::Answer(who), Event::Step(who), Event::Arrive(who), Event::Answer(who), Event::Step(who), Event::Arrive(who), Event::Answer(who)] {
                    world = world.after(event, Mutation::None).unwrap_or(world);
                }
            }
            prop_assert!(world.leaders() <= 1, "{world:?}");
            world = world.after(Event::Tick, Mutation::None).unwrap_or(world);
        }
        prop_assert_eq!(world.leaders(), 1, "{:?}", world);
    }
}

#[test]
fn times_out_of_order_are_refused() {
    assert!(Times::default().checked().is_ok());
    assert!(Times::of(Duration::from_millis(700)).checked().is_ok());
    for wrong in [times(2, 2), times(2, 3), times(3, 1), times(7200, 2), times(0, 0)] {
        let error = wrong.checked().expect_err("refused").to_string();
        assert!(error.contains("renewDeadline < duration"), "{error}");
    }
}
