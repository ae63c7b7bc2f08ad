//! How fast data is looked through when a step is planned, and how fast it reaches programs.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use braid_crds::workflow::Format;
use braid_engine::cover::{RecordScan, Unit};
use serde_json::{Value, json};

use crate::{
    Effort,
    figure::{Figure, median, rounded},
    tables,
};

/// As a planner reads.
const CHUNK: usize = 1 << 20;

/// Lines of about a hundred bytes, every eighth with quotes.
fn row(number: usize, quotes: bool) -> String {
    let text = "x".repeat(40 + number % 41);
    if quotes && number.is_multiple_of(8) {
        format!("{number},\"{text}, \"\"quoted\"\"\",{},north\n", number * 7 % 1000)
    } else {
        format!("{number},{text},{},north\n", number * 7 % 1000)
    }
}

/// Writes such rows until there are so many bytes or a few more; gives how many.
pub fn write(out: &mut impl Write, bytes: usize, quotes: bool) -> anyhow::Result<usize> {
    let header = b"id,text,amount,region\n";
    out.write_all(header)?;
    let mut written = header.len();
    for number in 0.. {
        if written >= bytes {
            break;
        }
        let row = row(number, quotes);
        out.write_all(row.as_bytes())?;
        written += row.len();
    }
    Ok(written)
}

/// Bytes per nanosecond are gigabytes per second.
#[allow(clippy::cast_precision_loss)]
fn gigabytes(bytes: usize, took: Duration) -> f64 {
    bytes as f64 / took.as_nanos() as f64
}

/// The measurement of looking through.
pub fn scan(effort: Effort) -> anyhow::Result<Figure> {
    let (bytes, rounds) = if effort.quick { (64 << 20, 3) } else { (512 << 20, 5) };
    let mut figure = Figure::new(
        "scan",
        format!("{bytes} bytes in memory, looked through in chunks of {CHUNK} on one core, median of {rounds}"),
        &["data", "split", "partitions", "GB/s"],
    );
    for (name, format, quotes, unit) in [
        ("Text", Format::Text, false, Unit::Rows(50_000)),
        ("Text", Format::Text, false, Unit::Rows(1)),
        ("JSONLines", Format::JsonLines, false, Unit::Rows(50_000)),
        ("CSV", Format::Csv, false, Unit::Rows(50_000)),
        ("CSV, quotes in every eighth row", Format::Csv, true, Unit::Rows(50_000)),
        (
            "CSV, quotes in every eighth row",
            Format::Csv,
            true,
            Unit::Bytes(16 << 20),
        ),
    ] {
        let mut text = Vec::new();
        write(&mut text, bytes, quotes)?;
        let (mut rates, mut partitions) = (Vec::new(), 0);
        for _ in 0..rounds {
            let begun = Instant::now();
            let mut scan = RecordScan::new(format, unit)?;
            for chunk in text.chunks(CHUNK) {
                scan.feed(chunk)?;
            }
            partitions = scan.finish()?.starts.len();
            rates.push(gigabytes(text.len(), begun.elapsed()));
        }
        let split = match unit {
            Unit::Rows(rows) => format!("rows: {rows}"),
            Unit::Bytes(bytes) => format!("bytes: {bytes}"),
        };
        figure.row([json!(name), json!(split), json!(partitions), rounded(median(rates), 2)]);
    }
    Ok(figure)
}

/// Seconds of one run.
async fn once(file: &Path, split: &Value) -> anyhow::Result<f64> {
    let data = json!({"name": "rows", "files": {"url": file, "format": "CSV"}});
    let step = json!({
        "name": "look",
        "over": {"data": "rows", "split": split},
        "run": {"script": "wc -l > $BRAID_RESULTS"},
        "results": [{"name": "lines", "reduce": "Sum"}],
    });
    Ok(tables::run(Path::new("."), &data, &step).await?.0)
}

/// The measurement of whole runs.
pub async fn delivery(effort: Effort) -> anyhow::Result<Figure> {
    let (bytes, rounds) = if effort.quick { (64 << 20, 1) } else { (1 << 30, 3) };
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("rows.csv");
    let mut out = BufWriter::new(File::create(&file)?);
    write(&mut out, bytes, true)?;
    out.flush()?;
    let mut figure = Figure::new(
        "delivery",
        format!(
            "{bytes} bytes of CSV in the page cache through `wc -l`, 2 workers; from the submission to Complete, so with planning \
             and the start of workers; median of {rounds}; beside it `wc -l` of the file alone"
        ),
        &["what", "seconds", "GB/s"],
    );
    let mut alone = Vec::new();
    for _ in 0..=rounds {
        alone.push(tables::alone(Command::new("wc").arg("-l").arg(&file))?);
    }
    let mut add = |what: &str, times: Vec<f64>| {
        let seconds = median(times);
        #[allow(clippy::cast_precision_loss)]
        let rate = bytes as f64 / seconds / 1e9;
        figure.row([json!(what), rounded(seconds, 2), rounded(rate, 2)]);
    };
    add("wc -l alone", alone.split_off(1));
    for split in [json!({"bytes": "32Mi"}), json!({"rows": 500_000}), json!({"files": 1})] {
        let mut times = Vec::new();
        for _ in 0..rounds {
            times.push(once(&file, &split).await?);
        }
        add(&format!("split: {split}"), times);
    }
    Ok(figure)
}
