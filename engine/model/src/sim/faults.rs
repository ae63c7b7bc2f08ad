//! The matrix: every arrow between two parts of the system, and everything that can go wrong on it.

use std::{collections::BTreeMap, fmt::Write as _};

/// Something that is sent or done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arrow {
    /// The operator writes the workflow's status: a fold, a close, a retry.
    OperatorStatus,
    /// The operator writes a desk's spec.
    OperatorDesk,
    /// The operator makes a desk.
    CreateDesk,
    /// The operator deletes a desk.
    DeleteDesk,
    /// The operator sees that an object has changed.
    WatchOperator,
    /// A worker writes its status.
    WorkerStatus,
    /// A worker reads its desk.
    WorkerRead,
    /// A worker sees that its desk has changed.
    WatchWorker,
    /// A worker renews its lease.
    Lease,
    /// A worker puts a manifest.
    Manifest,
    /// A worker's process starts.
    Spawn,
    /// A worker's process ends.
    Exit,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Who acts dies before it has acted.
    CrashBefore,
    /// Who acts dies when it has acted, before it knows.
    CrashAfter,
    /// It is done, and who did it does not hear of it.
    AnswerLost,
    /// It is given up and happens later.
    Late,
    /// Who acts stands still for seconds first.
    Pause,
    /// It is done by an old copy of what is acted on.
    Stale,
    /// Two operators are at work.
    SplitBrain,
}

/// The faults that an arrow can have.
#[must_use]
pub fn possible(arrow: Arrow) -> &'static [Fault] {
    use Fault::{AnswerLost, CrashAfter, CrashBefore, Late, Pause, SplitBrain, Stale};
    match arrow {
        Arrow::OperatorStatus | Arrow::OperatorDesk | Arrow::DeleteDesk => {
            &[CrashBefore, CrashAfter, AnswerLost, Late, Pause, Stale, SplitBrain]
        }
        Arrow::CreateDesk => &[CrashBefore, CrashAfter, AnswerLost, Pause, SplitBrain],
        // An event that is lost is made good by the next list.
        Arrow::WatchOperator => &[CrashBefore, AnswerLost, Pause, Stale, SplitBrain],
        Arrow::WorkerStatus => &[CrashBefore, CrashAfter, AnswerLost, Late, Pause, Stale],
        Arrow::WorkerRead | Arrow::Lease => &[CrashBefore, CrashAfter, AnswerLost, Pause],
        Arrow::WatchWorker => &[CrashBefore, AnswerLost, Pause, Stale],
        Arrow::Manifest => &[CrashBefore, CrashAfter, AnswerLost, Pause, Stale],
        Arrow::Spawn => &[CrashBefore, CrashAfter, Pause],
        // A death that is not seen is a zombie; one that is seen late is a pause.
        Arrow::Exit => &[CrashAfter, AnswerLost, Pause],
    }
}

/// All arrows.
pub const ARROWS: [Arrow; 12] = [
    Arrow::OperatorStatus,
    Arrow::OperatorDesk,
    Arrow::CreateDesk,
    Arrow::DeleteDesk,
    Arrow::WatchOperator,
    Arrow::WorkerStatus,
    Arrow::WorkerRead,
    Arrow::WatchWorker,
    Arrow::Lease,
    Arrow::Manifest,
    Arrow::Spawn,
    Arrow::Exit,
];

/// All faults.
pub const FAULTS: [Fault; 7] = [
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::AnswerLost,
    Fault::Late,
    Fault::Pause,
    Fault::Stale,
    Fault::SplitBrain,
];

/// How often each fault hit each arrow while a shard was in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matrix(BTreeMap<(Arrow, Fault), u64>);

impl Matrix {
    /// Counts one.
    pub fn hit(&mut self, arrow: Arrow, fault: Fault) {
        *self.0.entry((arrow, fault)).or_default() += 1;
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (cell, count) in &other.0 {
            *self.0.entry(*cell).or_default() += count;
        }
    }

    /// How often.
    #[must_use]
    pub fn count(&self, arrow: Arrow, fault: Fault) -> u64 {
        self.0.get(&(arrow, fault)).copied().unwrap_or_default()
    }

    /// The possible cells that were not hit.
    #[must_use]
    pub fn missing(&self) -> Vec<(Arrow, Fault)> {
        let cells = ARROWS.iter();
        let cells = cells.flat_map(|arrow| possible(*arrow).iter().map(move |fault| (*arrow, *fault)));
        cells.filter(|(arrow, fault)| self.count(*arrow, *fault) == 0).collect()
    }

    /// As a table in Markdown; impossible cells are empty.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from("| |");
        for fault in FAULTS {
            let _ = write!(text, " {fault:?} |");
        }
        text += "\n|---|";
        text += &"---:|".repeat(FAULTS.len());
        for arrow in ARROWS {
            let _ = write!(text, "\n| {arrow:?} |");
            for fault in FAULTS {
                if possible(arrow).contains(&fault) {
                    let _ = write!(text, " {} |", self.count(arrow, fault));
                } else {
                    text += " |";
                }
            }
        }
        text
    }
}
