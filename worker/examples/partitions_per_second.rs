//! Partitions per second of `command` steps beside `xargs -P2` that does the same, in turns, and of the no-op runner.
//!
//! `cargo build --release -p braid-worker --bins --examples && target/release/examples/partitions_per_second [N] [ROUNDS]`
//!
//! Two runners with a shim each, one process at a time in each. `xargs bare` starts the same command and does nothing
//! else; `xargs same` goes through a shell that sets the item's variable, captures output to a file, and reads the
//! results file. Printed are the medians.
#![allow(clippy::print_stdout, clippy::cast_precision_loss)]

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use braid_worker::runner::logs::LogFiles;
use braid_worker::runner::{
    Attempt, AttemptId, Ending, Input, Item, Limits, NoopRunner, Program, ProgramId, Runner, ShimCommand, ShimRunner,
};
use bytes::Bytes;

type Failed = Box<dyn Error + Send + Sync>;

struct Case {
    name: &'static str,
    command: &'static [&'static str],
    results: bool,
    /// What xargs' shell does for one item `$1`, files in `$D`.
    same: &'static str,
}

const CASES: [Case; 3] = [
    Case {
        name: "/bin/true",
        command: &["/bin/true"],
        results: false,
        same: r#"BRAID_ITEM=$1 /bin/true >"$D/$1.out" 2>"$D/$1.err""#,
    },
    Case {
        name: "sh -c 'echo x'",
        command: &["sh", "-c", "echo x"],
        results: false,
        same: r#"BRAID_ITEM=$1 sh -c 'echo x' >"$D/$1.out" 2>"$D/$1.err""#,
    },
    Case {
        name: "sh -c 'echo 1 > results'",
        command: &["sh", "-c", "echo 1 > $BRAID_RESULTS"],
        results: true,
        same: r#"export BRAID_ITEM=$1 BRAID_RESULTS="$D/$1.res"
                 sh -c 'echo 1 > $BRAID_RESULTS' >"$D/$1.out" 2>"$D/$1.err"; read -r x <"$D/$1.res""#,
    },
];

fn program(case: &Case) -> Program {
    Program {
        id: ProgramId(1),
        step: Arc::from("bench"),
        command: case.command.iter().map(|&word| word.to_owned()).collect(),
        script: None,
        args: Vec::new(),
        env: Vec::new(),
        concurrency: 1,
        grace: Duration::from_secs(10),
        results_limit: case.results.then_some(32 << 10),
        uid: Arc::from("uid/bench"),
    }
}

fn attempt(number: u64) -> Attempt {
    Attempt {
        id: AttemptId(number),
        program: ProgramId(1),
        partition: number,
        attempt: 1,
        item: Item::Number(number.cast_signed()),
        input: Input::None,
        timeout: Some(Duration::from_mins(1)),
    }
}

/// Runs `count` attempts to their end.
async fn drive(runner: &mut impl Runner, count: u64, results: bool) -> Result<(), Failed> {
    let (mut started, mut ended) = (0, 0);
    while ended < count {
        while started < count && runner.capacity(ProgramId(1)) > 0 {
            runner.start(attempt(started)).await?;
            started += 1;
        }
        for finished in runner.next().await? {
            match finished.ending {
                Ending::Succeeded { results: found } if found.is_some() == results => ended += 1,
                other => return Err(format!("{other:?}").into()),
            }
        }
    }
    Ok(())
}

async fn braid(case: &Case, count: u64, shim: &Path, logs: &Path) -> Result<f64, Failed> {
    let sink = Arc::new(LogFiles::open(logs, 64 << 20)?);
    let mut runners = Vec::new();
    for _ in 0..2 {
        let command = ShimCommand {
            program: shim.to_owned(),
            args: Vec::new(),
        };
        let mut runner = ShimRunner::new(command, Limits::default(), sink.clone());
        runner.prepare(Arc::new(program(case))).await?;
        // Started and warm: the shims live as long as their workers.
        drive(&mut runner, 1, case.results).await?;
        runners.push(runner);
    }
    let begin = Instant::now();
    let results = case.results;
    let tasks = runners.into_iter().map(|mut runner| {
        tokio::spawn(async move {
            drive(&mut runner, count / 2, results).await?;
            Ok::<_, Failed>(runner)
        })
    });
    let mut done = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        done.push(task.await??);
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    for runner in done {
        runner.shutdown().await;
    }
    Ok(rate)
}

fn xargs(words: &[&str], count: u64, dir: &Path) -> Result<f64, Failed> {
    let list = dir.join("items");
    let mut items = BufWriter::new(File::create(&list)?);
    for n in 0..count {
        writeln!(items, "{n}")?;
    }
    items.into_inner()?;
    let begin = Instant::now();
    let status = Command::new("xargs")
        .args(["-P2", "-n1"])
        .args(words)
        .env("D", dir)
        .stdin(File::open(list)?)
        .stdout(Stdio::from(File::create(dir.join("out"))?))
        .status()?;
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    if status.success() {
        Ok(rate)
    } else {
        Err("xargs failed".into())
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1);
    let count: u64 = args.next().map_or(Ok(4000), |text| text.parse())?;
    let rounds: usize = args.next().map_or(Ok(3), |text| text.parse())?;
    let here = std::env::current_exe()?;
    let shim = here.ancestors().nth(2).ok_or("no directory above")?.join("braid-shim");

    let mut runner = NoopRunner::new(Some(Bytes::from_static(b"{\"n\":1}")));
    runner.prepare(Arc::new(program(&CASES[0]))).await?;
    let begin = Instant::now();
    drive(&mut runner, 5_000_000, true).await?;
    println!("no-op runner: {:.0} attempts/s", 5e6 / begin.elapsed().as_secs_f64());

    println!("{count} partitions, median of {rounds}, per second");
    println!(
        "{:26} {:>8} {:>11} {:>11} {:>6} {:>6}",
        "command", "braid", "xargs bare", "xargs same", "/bare", "/same"
    );
    for case in &CASES {
        let (mut ours, mut bare, mut same) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let dir = tempfile::Builder::new().tempdir_in("/dev/shm")?;
            ours.push(braid(case, count, &shim, dir.path()).await?);
            if case.results {
                // Without the variable there is no file; a plain one does the same work.
                bare.push(xargs(&["sh", "-c", "echo 1 > $D/results.$$"], count, dir.path())?);
            } else {
                let words: Vec<&str> = case.command.to_vec();
                bare.push(xargs(&words, count, dir.path())?);
            }
            same.push(xargs(&["sh", "-c", case.same, "sh"], count, dir.path())?);
        }
        let (ours, bare, same) = (median(ours), median(bare), median(same));
        let (to_bare, to_same) = (ours / bare, ours / same);
        println!(
            "{:26} {ours:8.0} {bare:11.0} {same:11.0} {to_bare:6.2} {to_same:6.2}",
            case.name
        );
    }
    Ok(())
}
