//! Attempts per second of runners alone: with a shim each, and the no-op runner. `cargo xtask bench command` compares the whole with
//! `xargs`.
//!
//! `cargo build --release -p braid-worker --bins --examples && target/release/examples/partitions_per_second [N] [ROUNDS]`
//!
//! Two runners with a shim each, one process at a time in each. Printed are the medians.
#![allow(clippy::print_stdout, clippy::cast_precision_loss)]

use std::error::Error;
use std::path::Path;
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
}

const CASES: [Case; 3] = [
    Case {
        name: "/bin/true",
        command: &["/bin/true"],
        results: false,
    },
    Case {
        name: "sh -c 'echo x'",
        command: &["sh", "-c", "echo x"],
        results: false,
    },
    Case {
        name: "sh -c 'echo 1 > results'",
        command: &["sh", "-c", "echo 1 > $BRAID_RESULTS"],
        results: true,
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
        sides: braid_worker::runner::Sides::default(),
        serve: None,
        outputs: Vec::new(),
        checkpoint: None,
        uid: Arc::from("uid/bench"),
        run: Arc::from("uid/bench"),
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
        outlet: None,
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
    for case in &CASES {
        let mut rates = Vec::new();
        for _ in 0..rounds {
            let dir = tempfile::Builder::new().tempdir_in("/dev/shm")?;
            rates.push(braid(case, count, &shim, dir.path()).await?);
        }
        println!("{:26} {:8.0}", case.name, median(rates));
    }
    Ok(())
}
