//! The plain loop over rows of CSV: what a user's program does with its partition, and what it would do with the whole file alone.
//!
//! `braid-bench plain sum|group [FILE]` reads the file or standard input, whose first line is a header, and writes one JSON into the
//! file that `BRAID_RESULTS` names, or to standard output.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use serde_json::json;

/// As large as a pipe's reader likes them.
const BUFFER: usize = 1 << 20;

/// Runs it, if the command line asks for it.
pub fn as_plain() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (first, rest) = arguments.split_first()?;
    if first != "plain" {
        return None;
    }
    Some(match run(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn run(arguments: &[String]) -> anyhow::Result<()> {
    let what = arguments.first().map(String::as_str).unwrap_or_default();
    let input: Box<dyn Read> = match arguments.get(1) {
        Some(file) => Box::new(File::open(file).with_context(|| file.clone())?),
        None => Box::new(io::stdin().lock()),
    };
    let mut lines = BufReader::with_capacity(BUFFER, input);
    let mut line = Vec::new();
    lines.read_until(b'\n', &mut line)?;
    let (mut rows, mut amount, mut groups) = (0_u64, 0_u64, vec![0_u64; 1_000]);
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        // The text may have commas, the columns behind it have none.
        let mut columns = line.rsplitn(3, |byte| *byte == b',');
        let value = columns.nth(1).context("a row has no amount")?;
        let value = value
            .iter()
            .fold(0, |value, digit| value * 10 + u64::from(digit.wrapping_sub(b'0')));
        rows += 1;
        amount += value;
        if what == "group" {
            *groups
                .get_mut(usize::try_from(value)?)
                .context("an amount is above 999")? += 1;
        }
    }
    let results = match what {
        "sum" => json!({"rows": rows, "amount": amount}),
        "group" => {
            let groups = groups.iter().enumerate().filter(|(_, count)| **count > 0);
            let counts: BTreeMap<String, u64> = groups.map(|(key, count)| (key.to_string(), *count)).collect();
            json!({"counts": counts})
        }
        other => bail!("there is no loop {other:?}"),
    };
    match std::env::var_os("BRAID_RESULTS") {
        Some(file) => std::fs::write(file, results.to_string())?,
        None => println!("{results}"),
    }
    Ok(())
}
