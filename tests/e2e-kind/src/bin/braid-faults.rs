//! The whole table of faults on a real cluster: every request, every process, each while shards are in flight.
//!
//! `braid-faults [--only TEXT].. [--list] [--json FILE]`, on the cluster and with the images of the tests (`cargo xtask chaos --cluster`).
//! Each cell is printed when it was hit. A number that is not exact, a run that does not end and a write that is in no cell end it at
//! once. Exit code 0 only if every cell was hit.
// A command-line tool speaks by printing.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::ExitCode;

use braid_e2e_kind::edges::{Cell, cells};
use braid_e2e_kind::{Detour, OF_A_RUN, OF_ALL, Row, campaign, cell, cut_off, suite, two_leaders};
use clap::Parser;
use serde_json::{Value, json};

#[derive(Parser)]
#[command(
    about = "Breaks every request and every process of a cluster's Braid, and checks that the numbers stay exact"
)]
struct Options {
    /// Only cells with this text in their names; may be given more than once
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Only says which cells there are
    #[arg(long)]
    list: bool,
    /// Also writes the table to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| name.contains(text.as_str()))
    }
}

fn name(cell: &Cell) -> String {
    format!("{}, {}", cell.edge, cell.moment)
}

/// Faults that need a detour and are not of one request.
const OF_THE_NETWORK: [&str; 2] = ["leaders-two", "cut-off"];

fn main() -> ExitCode {
    let options = Options::parse();
    let requests: Vec<Cell> = cells().into_iter().filter(|cell| options.wants(&name(cell))).collect();
    let processes = OF_A_RUN.iter().chain(&OF_ALL).map(|cell| cell.0);
    let processes: Vec<&str> = processes.filter(|name| options.wants(name)).collect();
    let network = OF_THE_NETWORK.map(|name| options.wants(name));
    if options.list {
        for cell in &requests {
            println!("{}", name(cell));
        }
        for (name, _) in OF_THE_NETWORK.iter().zip(network).filter(|(_, wanted)| *wanted) {
            println!("{name}");
        }
        for name in processes {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    }
    if requests.is_empty() && processes.is_empty() && !network.contains(&true) {
        eprintln!(
            "error: no cell has any of these texts in its name: {:?}; --list names all",
            options.only
        );
        return ExitCode::FAILURE;
    }
    suite();
    println!("{}", Row::head());
    let mut rows = Vec::new();
    let mut missed = Vec::new();
    if !requests.is_empty() || network.contains(&true) {
        let detour = Detour::open();
        let mut tell = |row: &Row| {
            println!("{row}");
            rows.push(row.clone());
        };
        if let Err(never) = campaign(&detour, &requests, &mut tell) {
            missed = never;
        }
        if network[0] {
            tell(&two_leaders(&detour));
        }
        if network[1] {
            cut_off(&detour).iter().for_each(tell);
        }
    }
    for name in processes {
        let row = cell(name);
        println!("{row}");
        rows.push(row);
    }
    for cell in &missed {
        println!("never hit: {}", name(cell));
    }
    println!(
        "{} cells hit while shards were in flight, {} missed; all numbers exact",
        rows.len(),
        missed.len()
    );
    if let Some(file) = &options.json {
        let document = json!({
            "hit": rows.iter().map(Row::json).collect::<Vec<Value>>(),
            "missed": missed.iter().map(name).collect::<Vec<String>>(),
        });
        let text = serde_json::to_string_pretty(&document).unwrap_or_default();
        if let Err(error) = std::fs::write(file, text + "\n") {
            println!("{}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
