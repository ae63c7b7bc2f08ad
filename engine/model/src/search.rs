//! The search: breadth first, so that the first trace to a violation is a shortest one, with full states, so that no
//! two states are ever taken for one.
//!
//! A state is a handful of parts that most of its neighbours share. Each distinct part is kept once and has a number; a
//! state is the row of its parts' numbers, 4 bytes each. So millions of states of the production code's own types fit
//! into memory, unabridged, and every state can be visited again: for its trace, and for the check that from *each* of
//! them a continuation without faults ends complete. (A checker that keeps hashes of states can do neither.)

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasherDefault, Hash, Hasher},
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{
    actor::Actor,
    apply::apply,
    invariants::{self, Invariant},
    state::{Action, Config, Process, Rest, Seat, State, Workflow},
};

/// A continuation without faults that takes longer has no end.
const PATIENCE: usize = 600;
/// Seats and processes that a state may have: parts that are not there are number 0.
const SEATS: usize = 4;
const PROCESSES: usize = 5;
const PARTS: usize = 2 + SEATS + PROCESSES;

/// A state as the numbers of its parts.
type Row = [u32; PARTS];

/// Multiplies and rotates: the keys are our own, nobody chooses them to collide.
#[derive(Clone, Copy, Default)]
pub struct Quick(u64);

impl Quick {
    #[inline]
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Quick {
    #[inline]
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.add(u64::from(value));
    }

    #[inline]
    fn write_u16(&mut self, value: u16) {
        self.add(u64::from(value));
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.add(u64::from(value));
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }

    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }
}

type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// Each distinct part once.
struct Parts<T> {
    numbers: QuickMap<Rc<T>, u32>,
    parts: Vec<Rc<T>>,
}

impl<T: Eq + Hash> Parts<T> {
    fn new() -> Self {
        Self {
            numbers: QuickMap::default(),
            parts: Vec::new(),
        }
    }

    /// The number of a part, never 0.
    fn number(&mut self, part: &Rc<T>) -> u32 {
        if let Some(number) = self.numbers.get(part) {
            return *number;
        }
        self.parts.push(Rc::clone(part));
        let number = u32::try_from(self.parts.len()).expect("fewer parts than 2^32");
        self.numbers.insert(Rc::clone(part), number);
        number
    }

    fn part(&self, number: u32) -> Rc<T> {
        Rc::clone(&self.parts[number as usize - 1])
    }
}

struct Tables<A> {
    workflows: Parts<Workflow>,
    rests: Parts<Rest>,
    seats: Parts<Seat>,
    processes: Parts<Process<A>>,
}

impl<A: Actor> Tables<A> {
    fn row(&mut self, state: &State<A>, parent: Option<(&State<A>, &Row)>) -> Row {
        assert!(
            state.seats.len() <= SEATS && state.processes.len() <= PROCESSES,
            "too many parts"
        );
        let mut row = [0; PARTS];
        let old = |place: usize| parent.map_or(0, |(_, row)| row[place]);
        row[0] = match parent {
            Some((parent, _)) if Rc::ptr_eq(&parent.workflow, &state.workflow) => old(0),
            _ => self.workflows.number(&state.workflow),
        };
        row[1] = match parent {
            Some((parent, _)) if Rc::ptr_eq(&parent.rest, &state.rest) => old(1),
            _ => self.rests.number(&state.rest),
        };
        for (index, seat) in state.seats.iter().enumerate() {
            let same = parent
                .and_then(|(parent, _)| parent.seats.get(index))
                .is_some_and(|old| Rc::ptr_eq(old, seat));
            row[2 + index] = if same { old(2 + index) } else { self.seats.number(seat) };
        }
        for (index, process) in state.processes.iter().enumerate() {
            let place = 2 + SEATS + index;
            let same = parent.and_then(|(parent, _)| parent.processes.get(index));
            let same = same.is_some_and(|old| Rc::ptr_eq(old, process));
            row[place] = if same {
                old(place)
            } else {
                self.processes.number(process)
            };
        }
        row
    }

    fn state(&self, row: &Row) -> State<A> {
        let there = |part: &&u32| **part != 0;
        let seats = row[2..2 + SEATS].iter().filter(there);
        let processes = row[2 + SEATS..].iter().filter(there);
        State {
            workflow: self.workflows.part(row[0]),
            rest: self.rests.part(row[1]),
            seats: seats.map(|number| self.seats.part(*number)).collect(),
            processes: processes.map(|number| self.processes.part(*number)).collect(),
        }
    }
}

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// States that are kept.
    pub states: usize,
    /// Time.
    pub time: Duration,
    /// Whether to check that every state can be completed.
    pub liveness: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            states: 20_000_000,
            time: Duration::from_hours(1),
            liveness: true,
        }
    }
}

/// A broken invariant and how to get there.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// The actions, from the initial state.
    pub trace: Vec<Action>,
    /// For [`Invariant::Completes`], the continuation that does not end well.
    pub tail: Vec<Action>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Distinct states.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// The longest shortest path.
    pub depth: usize,
    /// Whether nothing was left to explore.
    pub exhausted: bool,
    /// The longest continuation without faults.
    pub longest_tail: usize,
    /// How often each kind of action was taken.
    pub taken: BTreeMap<String, usize>,
    /// How long it took.
    pub time: Duration,
    /// The first broken invariant.
    pub violation: Option<Violation>,
}

struct Search<'a, A> {
    config: &'a Config,
    limits: Limits,
    tables: Tables<A>,
    known: QuickMap<Row, u32>,
    rows: Vec<Row>,
    /// The state that each was first reached from, and by which of its enabled actions.
    parents: Vec<(u32, u16)>,
    report: Report,
}

/// Explores everything that a configuration allows.
pub fn explore<A: Actor>(config: &Config, limits: Limits) -> Report {
    let begun = Instant::now();
    let mut search = Search {
        config,
        limits,
        tables: Tables {
            workflows: Parts::new(),
            rests: Parts::new(),
            seats: Parts::new(),
            processes: Parts::new(),
        },
        known: QuickMap::default(),
        rows: Vec::new(),
        parents: Vec::new(),
        report: Report {
            states: 0,
            steps: 0,
            depth: 0,
            exhausted: false,
            longest_tail: 0,
            taken: BTreeMap::new(),
            time: Duration::ZERO,
            violation: None,
        },
    };
    let initial = State::<A>::initial(config);
    search.explore(&initial, begun);
    if search.report.violation.is_none() && limits.liveness {
        search.complete_all();
    }
    search.report.states = search.rows.len();
    search.report.time = begun.elapsed();
    search.report
}

impl<A: Actor> Search<'_, A> {
    fn explore(&mut self, initial: &State<A>, begun: Instant) {
        let row = self.tables.row(initial, None);
        self.known.insert(row, 0);
        self.rows.push(row);
        self.parents.push((0, 0));
        let mut next = 0;
        let mut end_of_level = 1;
        let mut kinds: HashMap<std::mem::Discriminant<Action>, Vec<(Action, usize)>> = HashMap::new();
        while next < self.rows.len() {
            if next == end_of_level {
                self.report.depth += 1;
                end_of_level = self.rows.len();
            }
            let late = next % 4_096 == 0 && begun.elapsed() > self.limits.time;
            if self.rows.len() >= self.limits.states || late {
                self.count(&kinds);
                return;
            }
            let row = self.rows[next];
            let state = self.tables.state(&row);
            for (index, action) in state.enabled(self.config).iter().enumerate() {
                self.report.steps += 1;
                let seen = kinds.entry(std::mem::discriminant(action)).or_default();
                match seen.iter_mut().find(|(other, _)| other.variant() == action.variant()) {
                    Some((_, count)) => *count += 1,
                    None => seen.push((action.clone(), 1)),
                }
                let after = apply(self.config, &state, action);
                let after = after.and_then(|after| invariants::check(self.config, &after).map(|()| after));
                match after {
                    Ok(after) => self.reach(&after, (&state, &row), next, index),
                    Err(invariant) => {
                        let mut trace = self.trace(next);
                        trace.push(action.clone());
                        self.report.violation = Some(Violation {
                            invariant,
                            trace,
                            tail: Vec::new(),
                        });
                        self.report.depth += 1;
                        self.count(&kinds);
                        return;
                    }
                }
            }
            next += 1;
        }
        self.report.exhausted = true;
        self.count(&kinds);
    }

    fn count(&mut self, kinds: &HashMap<std::mem::Discriminant<Action>, Vec<(Action, usize)>>) {
        for (action, count) in kinds.values().flatten() {
            *self.report.taken.entry(action.kind()).or_default() += count;
        }
    }

    fn reach(&mut self, after: &State<A>, before: (&State<A>, &Row), parent: usize, action: usize) {
        let row = self.tables.row(after, Some(before));
        let number = self.rows.len() as u32;
        if *self.known.entry(row).or_insert(number) == number {
            self.rows.push(row);
            self.parents.push((parent as u32, action as u16));
        }
    }

    fn trace(&self, mut number: usize) -> Vec<Action> {
        let mut trace = Vec::new();
        while number != 0 {
            let (parent, action) = self.parents[number];
            let state = self.tables.state(&self.rows[parent as usize]);
            trace.push(state.enabled(self.config).swap_remove(action as usize));
            number = parent as usize;
        }
        trace.reverse();
        trace
    }

    /// From every state, the continuation without faults ends complete. Continuations share their ends: each state on
    /// one is followed once.
    fn complete_all(&mut self) {
        let unlimited = Config {
            split_brain: self.config.split_brain,
            ..self.config.clone()
        };
        let mut tails: QuickMap<Row, u32> = QuickMap::default();
        for number in (0..self.rows.len()).rev() {
            let mut row = self.rows[number];
            let mut path: Vec<Row> = Vec::new();
            let mut state = self.tables.state(&row);
            let mut on_path: HashSet<Row> = HashSet::new();
            let length = loop {
                if let Some(length) = tails.get(&row) {
                    break Some(*length as usize);
                }
                if state.complete() {
                    tails.insert(row, 0);
                    break Some(0);
                }
                path.push(row);
                if !on_path.insert(row) || path.len() > PATIENCE {
                    break None;
                }
                let Some(action) = state.fair(&unlimited) else {
                    break None;
                };
                let after = apply(&unlimited, &state, &action);
                let after = after.and_then(|after| invariants::check(&unlimited, &after).map(|()| after));
                let Ok(after) = after else { break None };
                row = self.tables.row(&after, Some((&state, &row)));
                state = after;
            };
            let Some(length) = length else {
                self.report.violation = Some(self.stuck(number));
                return;
            };
            self.report.longest_tail = self.report.longest_tail.max(length + path.len());
            for (distance, row) in path.iter().rev().enumerate() {
                tails.insert(*row, (length + distance + 1) as u32);
            }
        }
    }

    /// The continuation of a state that does not end.
    fn stuck(&self, number: usize) -> Violation {
        let mut state = self.tables.state(&self.rows[number]);
        let mut tail = Vec::new();
        let mut invariant = Invariant::Completes;
        while let Some(action) = state.fair(self.config).filter(|_| tail.len() < 60) {
            tail.push(action.clone());
            let after = apply(self.config, &state, &action);
            match after.and_then(|after| invariants::check(self.config, &after).map(|()| after)) {
                Ok(after) => state = after,
                Err(broken) => {
                    invariant = broken;
                    break;
                }
            }
        }
        Violation {
            invariant,
            trace: self.trace(number),
            tail,
        }
    }
}
