//! How a worker gets on, in the words that people see: how many partitions it has settled, and how fast.

use std::time::Duration;

use braid_crds::worker::WorkerSummary;
use tokio::time::Instant;

/// Commits that are nearer to each other say nothing about a speed.
const SHORTEST: Duration = Duration::from_secs(1);

/// Counts settled partitions.
#[derive(Debug)]
pub(super) struct Tally {
    done: u64,
    /// When a speed was told last, and how many there were.
    told: (Instant, u64),
    speed: String,
}

impl Tally {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            done: 0,
            told: (now, 0),
            speed: String::new(),
        }
    }

    /// One more is settled.
    pub(super) fn add(&mut self) {
        self.done += 1;
    }

    /// What is written with a commit. The speed is that since the commit before.
    pub(super) fn tell(&mut self, now: Instant) -> WorkerSummary {
        let (then, before) = self.told;
        let took = now.duration_since(then);
        if took >= SHORTEST && self.done > before {
            self.speed = speed(self.done - before, took);
            self.told = (now, self.done);
        }
        WorkerSummary {
            done: self.done,
            speed: self.speed.clone(),
        }
    }
}

/// So many in that time, in the unit in which it is a number that one can read.
fn speed(count: u64, took: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "it is rounded to two digits")]
    let per_second = count as f64 / took.as_secs_f64();
    let units = [("s", 1.0), ("min", 60.0), ("h", 3_600.0)];
    let (unit, times) = units
        .into_iter()
        .find(|(_, times)| per_second * times >= 1.0)
        .unwrap_or(("d", 86_400.0));
    let value = per_second * times;
    if value >= 9.95 {
        format!("{value:.0}/{unit}")
    } else {
        format!("{value:.1}/{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_told_in_a_unit_that_fits() {
        let table = [
            (20_310, 10, "2031/s"),
            (100, 10, "10/s"),
            (99, 10, "9.9/s"),
            (1, 2, "30/min"),
            (1, 100, "36/h"),
            (1, 3600, "1.0/h"),
            (1, 7200, "12/d"),
        ];
        for (count, seconds, text) in table {
            assert_eq!(speed(count, Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn commits_close_together_keep_the_speed() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut tally = Tally::new(start);
        assert_eq!(tally.tell(start).speed, "");
        (0..10).for_each(|_| tally.add());
        let told = tally.tell(at(2_000));
        assert_eq!((told.done, told.speed.as_str()), (10, "5.0/s"));
        tally.add();
        let told = tally.tell(at(2_010));
        assert_eq!((told.done, told.speed.as_str()), (11, "5.0/s"));
        (0..9).for_each(|_| tally.add());
        assert_eq!(tally.tell(at(1_002_000)).speed, "36/h");
    }
}
