//! Explores the configurations whose name contains a word, and prints what was found, as tables.
//!
//! `explore [--large] [WORD]`
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use braid_model::{
    actor::Reference,
    configs,
    machine::Production,
    mutation::Mutation,
    search::{Limits, Report, explore},
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let large = arguments.iter().any(|argument| argument == "--large");
    let word = arguments.iter().find(|argument| !argument.starts_with("--"));
    let wanted = |name: &str| word.is_none_or(|word| name.contains(word.as_str()));
    let configs = if large { configs::large() } else { configs::production() };
    let limits = Limits {
        states: if large { 15_000_000 } else { 2_000_000 },
        ..Limits::default()
    };
    let mut wrong = false;
    println!("| configuration | states | steps | depth | exhausted | longest tail | seconds |");
    println!("|---|---:|---:|---:|---|---:|---:|");
    for config in configs.iter().filter(|config| wanted(config.name)) {
        let report = explore::<Production>(config, limits);
        println!(
            "| {} | {} | {} | {} | {} | {} | {:.1} |",
            config.name,
            report.states,
            report.steps,
            report.depth,
            report.exhausted,
            report.longest_tail,
            report.time.as_secs_f32()
        );
        wrong |= report.violation.is_some();
        print_trace(&report);
    }
    if large {
        return ExitCode::from(u8::from(wrong));
    }
    println!("\n| broken rule | caught by | steps | states |\n|---|---|---:|---:|");
    for mutation in Mutation::ALL
        .into_iter()
        .filter(|mutation| wanted(&format!("{mutation:?}")))
    {
        let report = explore::<Reference>(&configs::broken(mutation), limits);
        if let Some(found) = &report.violation {
            println!(
                "| {mutation:?} | {} | {} | {} |",
                found.invariant,
                found.trace.len(),
                report.states
            );
        } else {
            wrong = true;
            println!("| {mutation:?} | NOT CAUGHT | | {} |", report.states);
        }
        if word.is_some() {
            print_trace(&report);
        }
    }
    ExitCode::from(u8::from(wrong))
}

fn print_trace(report: &Report) {
    let Some(violation) = &report.violation else { return };
    println!("{}:", violation.invariant);
    for action in &violation.trace {
        println!("    {action:?}");
    }
    for action in &violation.tail {
        println!("    then {action:?}");
    }
}
