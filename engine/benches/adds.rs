//! Results of partitions added to a fold, per second: a number, a named one, a float, a map with keys.
//!
//! `cargo bench -p braid-engine --bench adds`. Prints one line per kind.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::time::Instant;

use braid_crds::{worker::CardResult, workflow::Reduce};
use braid_engine::reduce::{Fold, RawResults};

const MILLIONS: u32 = 2;

fn main() {
    let texts = |text: &dyn Fn(u32) -> String| -> Vec<String> { (0..1_000).map(text).collect() };
    let kinds = [
        ("bare", texts(&|n| n.to_string()), false),
        ("named", texts(&|n| format!(r#"{{"n": {n}}}"#)), false),
        ("float", texts(&|n| format!("{n}.25")), false),
        ("keyed", texts(&|n| format!(r#"{{"a": {n}, "b{}": 1}}"#, n % 50)), true),
    ];
    for (kind, inputs, keyed) in kinds {
        let mut fold = Fold::new(&[CardResult {
            name: "n".into(),
            from: "n".into(),
            reduce: Reduce::Sum,
            keyed,
            ..CardResult::default()
        }]);
        let partitions = u64::from(MILLIONS) * 1_000_000;
        let begun = Instant::now();
        for (partition, raw) in (0..partitions).zip(inputs.iter().cycle()) {
            fold.add(partition, &RawResults(raw.as_bytes())).unwrap();
        }
        let rate = f64::from(MILLIONS) / begun.elapsed().as_secs_f64();
        println!("{kind}: {rate:.1} million adds/s");
        assert_eq!(fold.count("n"), partitions);
    }
}
