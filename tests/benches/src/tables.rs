//! Tables of some gigabytes: looked through, grouped, and shuffled; beside a plain loop, `wc`, `sort` and DuckDB.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use braid_crds::Workflow;
use braid_local::{Hands, LocalCluster, Settings};
use braid_testkit as kit;
use serde_json::{Value, json};

use crate::{
    Effort, data,
    figure::{Figure, median, rounded},
    peers,
};

const PATIENCE: Duration = Duration::from_mins(10);
/// The parts of the shuffle.
const PARTS: u32 = 32;

/// Rows, and the sum of their amounts.
type Total = (u64, u64);

/// One measured run of a step `look` over data: seconds from its submission to its end, and the run.
pub async fn run(directory: &Path, data: &Value, step: &Value) -> anyhow::Result<(f64, Workflow)> {
    let mut settings = Settings::new(directory.to_owned(), Hands::Shim(kit::own_shim()?));
    settings.workers = 2;
    let cluster = LocalCluster::start(settings).await?;
    let client = cluster.client();
    let begun = Instant::now();
    kit::submit(&client, "table", json!({"data": [data], "steps": [step]})).await?;
    let run = kit::ended(&client, "table", PATIENCE).await?;
    let took = begun.elapsed().as_secs_f64();
    let step = kit::step(&run, "look")?;
    ensure!(step.partitions.failed == 0 && step.partitions.succeeded > 0, "{step:?}");
    cluster.stop().await?;
    Ok((took, run))
}

fn total(run: &Workflow) -> anyhow::Result<Total> {
    let step = kit::step(run, "look")?;
    let of = |name: &str| kit::value(step, name).as_u64().with_context(|| format!("no {name}"));
    Ok((of("rows")?, of("amount")?))
}

/// Seconds of a program that ends well.
pub fn alone(command: &mut Command) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let ended = command.stdout(Stdio::null()).status();
    let ended = ended.with_context(|| format!("{command:?}"))?;
    ensure!(ended.success(), "{command:?} ended with {ended}");
    Ok(begun.elapsed().as_secs_f64())
}

/// What is measured, and where it goes.
struct Table<'a> {
    directory: &'a Path,
    csv: String,
    bytes: usize,
    rounds: usize,
    figure: Figure,
}

impl Table<'_> {
    fn add(&mut self, work: &str, who: &str, seconds: f64) {
        #[allow(clippy::cast_precision_loss)]
        let rate = self.bytes as f64 / seconds / 1e9;
        self.figure
            .row([json!(work), json!(who), rounded(seconds, 2), rounded(rate, 2)]);
    }

    /// The middle of some rounds of a program, behind one that warms the page cache.
    fn alone(&mut self, work: &str, who: &str, command: impl Fn() -> Command) -> anyhow::Result<()> {
        let mut times = Vec::new();
        for _ in 0..=self.rounds {
            times.push(alone(&mut command())?);
        }
        self.add(work, who, median(times.split_off(1)));
        Ok(())
    }

    /// The middle of some rounds of a step.
    async fn braid(&mut self, work: &str, who: &str, data: &Value, step: &Value) -> anyhow::Result<Workflow> {
        let mut times = Vec::new();
        let mut last = None;
        for _ in 0..self.rounds {
            let (seconds, run) = run(self.directory, data, step).await?;
            times.push(seconds);
            last = Some(run);
        }
        self.add(work, who, median(times));
        last.context("no rounds")
    }

    async fn csv(&mut self) -> anyhow::Result<Total> {
        let own = std::env::current_exe()?;
        let csv = self.csv.clone();
        let program = |what: &str| {
            let mut command = Command::new(&own);
            command.args(["plain", what, &csv]);
            command
        };
        let data = json!({"name": "rows", "files": {"url": self.csv, "format": "CSV"}});
        let sums = json!([{"name": "rows", "reduce": "Sum"}, {"name": "amount", "reduce": "Sum"}]);
        self.alone("CSV, count", "wc -l, one core", || {
            let mut command = Command::new("wc");
            command.args(["-l", &csv]);
            command
        })?;
        self.alone("CSV, sum of a column", "plain loop, one core", || program("sum"))?;
        let mut totals = Vec::new();
        for split in [json!({"bytes": "32Mi"}), json!({"rows": 500_000})] {
            let step = json!({
                "name": "look", "over": {"data": "rows", "split": split},
                "run": {"command": [own, "plain", "sum"]}, "results": sums,
            });
            let who = format!("Braid, plain loop, {split}");
            let run = self.braid("CSV, sum of a column", &who, &data, &step).await?;
            totals.push(total(&run)?);
        }
        ensure!(totals.windows(2).all(|pair| pair.first() == pair.get(1)), "{totals:?}");
        self.alone("CSV, count by 1,000 keys", "plain loop, one core", || program("group"))?;
        let step = json!({
            "name": "look", "over": {"data": "rows", "split": {"bytes": "32Mi"}},
            "run": {"command": [own, "plain", "group"]},
            "results": [{"name": "counts", "reduce": "Sum", "keyed": true, "maxKeys": 1_000}],
        });
        let run = self
            .braid(
                "CSV, count by 1,000 keys",
                "Braid, plain loop, bytes: 32Mi",
                &data,
                &step,
            )
            .await?;
        let counts = kit::value(kit::step(&run, "look")?, "counts");
        let counts = counts.as_object().context("no groups")?;
        let total = totals.first().copied().context("no totals")?;
        let counted: u64 = counts.values().filter_map(Value::as_u64).sum();
        ensure!(
            counts.len() == 1_000 && counted == total.0,
            "{} groups of {counted}",
            counts.len()
        );
        Ok(total)
    }

    async fn shuffle(&mut self, rows: u64) -> anyhow::Result<()> {
        let (csv, scratch) = (self.csv.clone(), self.directory.to_owned());
        self.rounds = 1;
        self.alone(
            "CSV, shuffle by 1,000 keys",
            "sort -k, two threads, to a file, once",
            || {
                let mut sort = Command::new("sort");
                sort.env("LC_ALL", "C")
                    .args(["-t,", "-k3,3", "--parallel=2", "-T"])
                    .arg(&scratch)
                    .arg("-o")
                    .arg(scratch.join("sorted.csv"))
                    .arg(&csv);
                sort
            },
        )?;
        std::fs::remove_file(scratch.join("sorted.csv"))?;
        let data = json!({"name": "rows", "files": {"url": self.csv, "format": "CSV"}});
        let step = json!({
            "name": "look",
            "over": {"data": "rows", "split": {"keys": {"by": "amount", "into": PARTS}}},
            "run": {"script": "echo $(($(wc -l) - 1)) > $BRAID_RESULTS"},
            "results": [{"name": "rows", "reduce": "Sum"}],
        });
        let who = format!("Braid, into {PARTS} parts, each through wc -l, once");
        let run = self.braid("CSV, shuffle by 1,000 keys", &who, &data, &step).await?;
        let found = kit::value(kit::step(&run, "look")?, "rows");
        ensure!(found == json!(rows), "{found} rows of {rows} are in the parts");
        Ok(())
    }

    async fn peers(&mut self, python: &Path, total: Total) -> anyhow::Result<()> {
        let parquet = self.directory.join("rows.parquet").display().to_string();
        let scratch = self.directory.join("parts").display().to_string();
        let told = peers::told(python, "duckdb_peer.py", &[self.csv.clone(), parquet.clone(), scratch])?;
        let version = told["version"].as_str().unwrap_or_default().to_owned();
        let expected = json!([[total.0, total.1]]);
        for (query, work) in [
            ("csv sum", "CSV, sum of a column"),
            ("csv group", "CSV, count by 1,000 keys"),
            ("csv shuffle", "CSV, shuffle by 1,000 keys"),
        ] {
            let query = &told["queries"][query];
            ensure!(!work.contains("sum") || query["rows"] == expected, "DuckDB has {query}");
            let seconds = query["seconds"].as_f64().context("DuckDB tells no time")?;
            self.add(work, &format!("DuckDB {version}, two threads"), seconds);
        }
        self.bytes = usize::try_from(std::fs::metadata(&parquet)?.len())?;
        for (query, work) in [
            ("parquet sum", "Parquet, sum of a column"),
            ("parquet group", "Parquet, count by 1,000 keys"),
        ] {
            let seconds = told["queries"][query]["seconds"].as_f64();
            let seconds = seconds.context("DuckDB tells no time")?;
            self.add(work, &format!("DuckDB {version}, two threads"), seconds);
        }
        let plain = peers::told(python, "parquet_sum.py", std::slice::from_ref(&parquet))?;
        ensure!(plain["rows"] == expected, "pyarrow has {plain}");
        let seconds = plain["seconds"].as_f64().context("pyarrow tells no time")?;
        self.add("Parquet, sum of a column", "pyarrow, a plain loop, one core", seconds);
        let data = json!({"name": "rows", "files": {"url": parquet, "format": "Parquet"}});
        for split in [json!({"rowGroups": 4}), json!({"rowGroups": 4, "columns": ["amount"]})] {
            let step = json!({
                "name": "look", "over": {"data": "rows", "split": split},
                "run": {"function": "parquet_sum:partition", "command": [python], "code": {"path": peers::scripts()}},
                "results": [{"name": "rows", "reduce": "Sum"}, {"name": "amount", "reduce": "Sum"}],
            });
            let who = format!("Braid, the same loop, {split}");
            let run = self.braid("Parquet, sum of a column", &who, &data, &step).await?;
            ensure!(self::total(&run)? == total, "{:?}", self::total(&run));
        }
        Ok(())
    }
}

/// The measurement.
pub async fn measure(effort: Effort) -> anyhow::Result<Figure> {
    let (bytes, rounds) = if effort.quick { (64 << 20, 1) } else { (2 << 30, 3) };
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("rows.csv");
    let mut out = BufWriter::new(File::create(&file)?);
    let bytes = data::write(&mut out, bytes, true)?;
    out.flush()?;
    drop(out);
    let figure = Figure::new(
        "tables",
        format!(
            "a table of {bytes} bytes of CSV (id, text, amount, region; every eighth text is quoted), and as Parquet, whose texts \
             are digests, which do not pack, with as many bytes as its file has; all in the page cache, two cores; Braid: 2 workers, from the submission to Complete, with planning and the \
             start of workers; median of {rounds} unless said; parts and sorted files are written to disk"
        ),
        &["work", "who", "seconds", "GB/s"],
    );
    let mut table = Table {
        directory: directory.path(),
        csv: file.display().to_string(),
        bytes,
        rounds,
        figure,
    };
    let total = table.csv().await?;
    table.shuffle(total.0).await?;
    table.rounds = rounds;
    if let Some(python) = peers::python() {
        table.peers(&python, total).await?;
    }
    Ok(table.figure)
}
