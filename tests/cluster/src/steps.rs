//! Where the time goes: every step says when it begins and how long it took, and a table at the end adds up.

use std::fmt;
use std::time::{Duration, Instant};

/// What a step spends its time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Fetching from the network.
    Download,
    /// Building what is cached afterwards.
    Build,
    /// What every cluster costs.
    Create,
}

/// A step that was done.
#[derive(Clone, Debug)]
struct Step {
    name: String,
    phase: Phase,
    took: Duration,
}

/// Steps that were done, in the order of their ends.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    steps: Vec<Step>,
}

impl Steps {
    /// Does a step; one that fails is in the table, too.
    pub(crate) fn run<T, E>(
        &mut self,
        phase: Phase,
        name: &str,
        say: &dyn Fn(&str),
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        say(name);
        let begun = Instant::now();
        let done = work();
        let took = begun.elapsed();
        let outcome = if done.is_ok() { "" } else { " (failed)" };
        say(&format!("{name}: {}{outcome}", seconds(took)));
        self.add(phase, name, took);
        done
    }

    /// A step that was timed elsewhere.
    pub(crate) fn add(&mut self, phase: Phase, name: &str, took: Duration) {
        self.steps.push(Step {
            name: name.to_owned(),
            phase,
            took,
        });
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.steps.append(&mut other.steps);
    }

    /// What a phase took, all its steps together; steps of two phases may have run at the same time.
    pub fn of(&self, phase: Phase) -> Duration {
        let steps = self.steps.iter().filter(|step| step.phase == phase);
        steps.map(|step| step.took).sum()
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<44} {:>10} {:>10} {:>10}",
            "step", "downloads", "builds", "create"
        )?;
        let row = |name: &str, times: [Option<Duration>; 3]| {
            let [downloads, builds, create] = times.map(|took| took.map(seconds).unwrap_or_default());
            format!("{name:<44} {downloads:>10} {builds:>10} {create:>10}")
        };
        for step in &self.steps {
            let of = |phase| (step.phase == phase).then_some(step.took);
            let times = [of(Phase::Download), of(Phase::Build), of(Phase::Create)];
            writeln!(out, "{}", row(&step.name, times))?;
        }
        let sums = [Phase::Download, Phase::Build, Phase::Create].map(|phase| Some(self.of(phase)));
        write!(out, "{}", row("together", sums))
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn phases_are_added_up() {
        let mut steps = Steps::default();
        steps.add(Phase::Download, "fetch", Duration::from_millis(1500));
        steps.add(Phase::Create, "boot", Duration::from_secs(20));
        let failed: Result<(), ()> = steps.run(Phase::Build, "break", &|_| {}, || Err(()));
        failed.unwrap_err();
        steps.add(Phase::Create, "wait", Duration::from_secs(4));
        let text = steps.to_string();
        let last = text.lines().last().unwrap();
        assert_eq!(
            ["together", "1.5", "s", "0.0", "s", "24.0", "s"].as_slice(),
            last.split_whitespace().collect::<Vec<_>>()
        );
        assert_eq!(6, text.lines().count(), "{text}");
    }
}
