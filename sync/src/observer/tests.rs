use proptest::prelude::*;

use super::*;

const PERIOD: u64 = 12;

fn at(seconds: u64) -> Moment {
    Moment::at(Duration::from_secs(seconds))
}

fn seen(name: &str, mark: u64) -> Sighting {
    Sighting {
        name: name.to_owned(),
        mark: mark.to_string(),
    }
}

fn observer() -> Observer {
    Observer::new(Patience::of(Duration::from_secs(PERIOD)))
}

#[test]
fn a_silent_worker_is_given_up_once_after_a_full_period() {
    let mut observer = observer();
    for second in 0..PERIOD {
        observer.read(at(second), at(second), [seen("w", 1)]);
        assert!(observer.give_up(at(second)).is_empty(), "at {second}");
    }
    observer.read(at(PERIOD), at(PERIOD), [seen("w", 1)]);
    assert_eq!(observer.give_up(at(PERIOD)), ["w"]);
    assert!(observer.give_up(at(PERIOD)).is_empty());
    assert!(observer.is_lost("w"));
    observer.read(at(PERIOD + 1), at(PERIOD + 1), [seen("w", 2)]);
    assert!(!observer.is_lost("w"), "it was heard again");
}

#[test]
fn a_commit_counts_as_a_sign_of_life() {
    let mut observer = observer();
    for second in 0..100 {
        observer.read(at(second), at(second), [seen("w", 1)]);
        observer.status("w", &(second / 10).to_string(), at(second));
        assert!(observer.give_up(at(second)).is_empty(), "at {second}");
    }
}

#[test]
fn a_worker_without_a_lease_is_silent() {
    let mut observer = observer();
    observer.status("w", "1", at(0));
    for second in 0..=PERIOD {
        observer.read(at(second), at(second), []);
    }
    assert_eq!(observer.give_up(at(PERIOD)), ["w"]);
}

#[test]
fn after_an_outage_every_worker_gets_a_full_period() {
    let mut observer = observer();
    observer.read(at(0), at(0), [seen("a", 1), seen("b", 1)]);
    // Nothing can be read for a long time: nobody is given up for it, neither during it nor at its end.
    assert!(observer.give_up(at(300)).is_empty());
    observer.read(at(300), at(301), [seen("a", 1), seen("b", 1)]);
    assert!(observer.give_up(at(301)).is_empty());
    for second in 302..301 + PERIOD {
        observer.read(at(second), at(second), [seen("a", 1), seen("b", 2)]);
        assert!(observer.give_up(at(second)).is_empty(), "at {second}");
    }
    observer.read(at(301 + PERIOD), at(301 + PERIOD), [seen("a", 1), seen("b", 3)]);
    assert_eq!(observer.give_up(at(301 + PERIOD)), ["a"]);
}

#[test]
fn silence_reaches_only_to_the_sending_of_the_latest_read() {
    let mut observer = observer();
    for second in 0..10 {
        observer.read(at(second), at(second), [seen("w", 1)]);
    }
    // Answered when the period is over, but sent before: what was stored in between is unknown.
    observer.read(at(10), at(PERIOD + 1), [seen("w", 1)]);
    assert!(observer.give_up(at(PERIOD + 1)).is_empty());
}

#[test]
fn only_a_share_is_given_up_per_period() {
    let mut observer = observer();
    let names: Vec<String> = (0..40).map(|n| format!("w{n:02}")).collect();
    let mut given_up = Vec::new();
    for second in 0..PERIOD * 3 {
        observer.read(at(second), at(second), names.iter().map(|name| seen(name, 1)));
        let now = observer.give_up(at(second));
        given_up.push(now.len());
    }
    let periods: Vec<usize> = given_up
        .chunks(usize::try_from(PERIOD).unwrap())
        .map(|period| period.iter().sum())
        .collect();
    assert_eq!(periods, [0, 4, 4]);
    assert_eq!(observer.silent(), 40);
}

proptest! {
    /// Whatever is read, changed and missed: nobody who changed within a period before the latest read is given up,
    /// and no window of one period sees more given up than the share.
    #[test]
    fn the_living_are_never_given_up(steps in prop::collection::vec((0u64..6, any::<bool>(), prop::collection::vec(any::<bool>(), 12)), 1..200)) {
        let mut observer = observer();
        let mut marks = [0u64; 12];
        let mut changed = [0u64; 12];
        let (mut looked, mut changed_then) = (0, changed);
        let mut now = 0;
        let mut given_up: Vec<u64> = Vec::new();
        for (wait, readable, changes) in steps {
            now += wait;
            for (worker, change) in changes.iter().enumerate() {
                if *change {
                    marks[worker] += 1;
                    changed[worker] = now;
                }
            }
            if readable {
                (looked, changed_then) = (now, changed);
                observer.read(at(now), at(now), marks.iter().enumerate().map(|(worker, mark)| seen(&worker.to_string(), *mark)));
            }
            for name in observer.give_up(at(now)) {
                let worker: usize = name.parse().unwrap();
                prop_assert!(looked - changed_then[worker] >= PERIOD, "{name} changed at {} and was given up at {now}", changed_then[worker]);
                given_up.push(now);
            }
            let in_window = given_up.iter().filter(|then| now - **then < PERIOD).count();
            prop_assert!(in_window <= 1, "{in_window} of 12 within one period");
        }
    }
}
