//! The run that is broken, and what must be true of it at its end.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use braid_crds::{Intervals, PartitionRange, Workflow, status::Phase};
use braid_testkit as kit;
use serde_json::{Value, json};

/// The step's name.
pub const STEP: &str = "work";

/// A step whose every partition tells a file that it ran, takes its time, gives its number, and writes it into a file of its own.
///
/// Killed processes count as failed attempts, so there are many; nothing else may fail.
pub fn spec(partitions: u64, pace_millis: u64, diary: &Path) -> Value {
    let script = r#"
echo "$BRAID_PARTITION $BRAID_ATTEMPT" >> "$DIARY"
sleep "$PACE"
mkdir "$BRAID_OUT/files/$((BRAID_PARTITION % 100))"
echo "$BRAID_PARTITION" > "$BRAID_OUT/files/$((BRAID_PARTITION % 100))/$BRAID_PARTITION"
echo "{\"number\": $BRAID_PARTITION, \"item\": $BRAID_ITEM}" > "$BRAID_RESULTS"
"#;
    let pace = format!("{}.{:03}", pace_millis / 1000, pace_millis % 1000);
    let data = json!([{"name": "files", "files": {"url": files(diary)}}]);
    json!({"data": data, "steps": [{
        "name": STEP,
        "writes": [{"data": "files"}],
        "over": {"range": {"start": 7, "end": 7 + 3 * partitions, "step": 3}},
        "run": {
            "script": script,
            "env": [{"name": "DIARY", "value": diary}, {"name": "PACE", "value": pace}],
            "concurrency": 2,
        },
        "partitionTimeout": "5s",
        "retry": {"attempts": 1000, "backoff": {"initial": "200ms", "max": "1s"}},
        "results": [
            {"name": "numbers", "from": "number", "reduce": "Sum"},
            {"name": "items", "from": "item", "reduce": "Sum"},
            {"name": "first", "from": "number", "reduce": "Min"},
            {"name": "last", "from": "number", "reduce": "Max"},
            {"name": "how_many", "from": "number", "reduce": "Count"},
        ],
    }]})
}

/// Where the files go, beside the diary.
fn files(diary: &Path) -> PathBuf {
    diary.with_file_name("files")
}

/// Checks that the file of each partition is to be seen, once and whole, and that nothing else is.
pub fn check_files(diary: &Path, partitions: u64) -> anyhow::Result<()> {
    let root = files(diary);
    let mut count = 0;
    for directory in fs::read_dir(&root).with_context(|| format!("cannot list {}", root.display()))? {
        let directory = directory?;
        if directory.file_name() == ".braid" {
            ensure!(
                !directory.path().join("attempts").exists(),
                "what lost attempts left is still there"
            );
            continue;
        }
        for file in fs::read_dir(directory.path())? {
            let file = file?;
            let text = fs::read_to_string(file.path())?;
            let partition: u64 = text
                .trim()
                .parse()
                .with_context(|| format!("{}: {text:?}", file.path().display()))?;
            ensure!(
                file.file_name() == text.trim() && partition < partitions,
                "{} holds {text:?}",
                file.path().display()
            );
            count += 1;
        }
    }
    ensure!(count == partitions, "{count} files of {partitions} partitions");
    Ok(())
}

/// How much more was run than was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waste {
    /// Runs of partitions that the diary tells of.
    pub runs: u64,
    /// Those beyond the first of each partition.
    pub again: u64,
}

/// Checks the end of a run as the API server tells it.
pub fn check_status(run: &Workflow, partitions: u64) -> anyhow::Result<()> {
    ensure!(
        kit::phase(run) == Phase::Succeeded,
        "it has not succeeded: {:?}",
        run.status
    );
    let step = kit::step(run, STEP)?;
    let mut all = Intervals::new();
    all.insert(PartitionRange::new(0, partitions));
    ensure!(step.ledger == all, "the ledger is {}", step.ledger);
    ensure!(step.failed.is_empty(), "failed: {}", step.failed);
    ensure!(
        step.partitions.succeeded == partitions && step.partitions.total == partitions,
        "counts: {:?}",
        step.partitions
    );
    ensure!(step.unpublished.is_empty(), "unpublished: {:?}", step.unpublished);
    for result in &step.results {
        ensure!(
            result.count == partitions,
            "{} has {} values",
            result.name,
            result.count
        );
        exact(&result.name, result.value.as_ref().unwrap_or(&Value::Null), partitions)?;
    }
    Ok(())
}

/// Checks one folded value by arithmetic.
pub fn exact(result: &str, value: &Value, partitions: u64) -> anyhow::Result<()> {
    let numbers = partitions * (partitions - 1) / 2;
    let expected = match result {
        "numbers" => json!(numbers),
        "items" => json!(7 * partitions + 3 * numbers),
        "how_many" => json!(partitions),
        "first" => json!(0),
        "last" => json!(partitions - 1),
        other => anyhow::bail!("there is no result {other}"),
    };
    // Min and Max also say where they come from.
    let found = value.get("value").unwrap_or(value);
    ensure!(*found == expected, "{result} is {value}, and must be {expected}");
    Ok(())
}

/// Checks that every partition ran, and counts how often.
pub fn check_diary(diary: &Path, partitions: u64) -> anyhow::Result<Waste> {
    let text = fs::read_to_string(diary).with_context(|| format!("cannot read {}", diary.display()))?;
    let mut seen = BTreeSet::new();
    let mut runs = 0;
    for line in text.lines() {
        let (partition, attempt) = line.split_once(' ').with_context(|| format!("a torn line: {line:?}"))?;
        let partition: u64 = partition.parse()?;
        let attempt: u64 = attempt.parse()?;
        ensure!(
            partition < partitions && attempt >= 1,
            "a line of no partition: {line:?}"
        );
        seen.insert(partition);
        runs += 1;
    }
    let missing = (0..partitions).find(|partition| !seen.contains(partition));
    ensure!(missing.is_none(), "counted, but never run: partition {missing:?}");
    Ok(Waste {
        runs,
        again: runs - partitions,
    })
}
