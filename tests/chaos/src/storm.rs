//! One run in one process, broken from all sides at random times, by seed.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use braid_apiserver::{Fault, Faults, Target, Times, Verb};
use braid_crds::Worker;
use braid_local::{Hands, LocalCluster, Operator, Settings};
use braid_testkit as kit;
use kube::{Api, api::ListParams};
use nix::sys::signal::Signal;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    processes,
    tally::Tally,
    work::{self, Waste},
};

/// The Leases: short, so that much goes on.
const LEASE: Duration = Duration::from_secs(3);
/// How long a fault waits for a request that it is meant for.
const RULE_LASTS: Duration = Duration::from_secs(3);
/// A run that takes longer is stuck.
const PATIENCE: Duration = Duration::from_mins(30);

/// What is run, and how it is broken.
#[derive(Clone, Debug)]
pub struct Storm {
    /// The choices.
    pub seed: u64,
    /// Partitions.
    pub partitions: u64,
    /// What a partition takes, in milliseconds.
    pub pace_millis: u64,
    /// The pauses between two faults are up to twice this.
    pub every: Duration,
    /// For the diary and what processes leave.
    pub directory: PathBuf,
}

/// How it went.
#[derive(Debug)]
pub struct Weathered {
    /// How long it took.
    pub took: Duration,
    /// How much was run again.
    pub waste: Waste,
    /// What the operators counted.
    pub operators: Value,
    /// All requests to the API server, and the refused.
    pub requests: (u64, u64),
}

/// What can be done to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    KillUserCode,
    StopUserCode,
    KillShim,
    KillShimAndAllBelow,
    StopShim,
    AbortWorker,
    PauseWorker,
    AbortOperator,
    TwoLeaders,
    Outage,
    DropWatches,
    ForgetHistory,
    Request,
}

/// Each as often as it stands here.
const BLOWS: [Blow; 22] = [
    Blow::KillUserCode,
    Blow::KillUserCode,
    Blow::KillUserCode,
    Blow::StopUserCode,
    Blow::KillShim,
    Blow::KillShimAndAllBelow,
    Blow::StopShim,
    Blow::AbortWorker,
    Blow::PauseWorker,
    Blow::AbortOperator,
    Blow::TwoLeaders,
    Blow::Outage,
    Blow::DropWatches,
    Blow::ForgetHistory,
    Blow::Request,
    Blow::Request,
    Blow::Request,
    Blow::Request,
    Blow::Request,
    Blow::Request,
    Blow::Request,
    Blow::Request,
];

struct Field<'a> {
    cluster: &'a LocalCluster,
    faults: Faults,
    tally: Arc<Tally>,
    random: StdRng,
    /// Takes back what was done for a time.
    after: JoinSet<()>,
    operators: Vec<Operator>,
    /// No second pause of what is paused.
    paused: Vec<(String, Instant)>,
}

/// Runs it.
pub async fn weather(storm: &Storm, tally: &Arc<Tally>) -> anyhow::Result<Weathered> {
    let diary = storm.directory.join("diary");
    let faults = Faults::seeded(storm.seed);
    let mut settings = Settings::new(storm.directory.clone(), Hands::Shim(kit::own_shim()?));
    settings.workers = 3;
    settings.worker_lease = LEASE;
    settings.leader_lease = LEASE;
    settings.shim_limits.ask_after = Duration::from_secs(1);
    settings.shim_limits.silence = Duration::from_secs(3);
    settings.shim_limits.slack = Duration::from_secs(2);
    settings.shim_limits.longest_pause = Duration::from_secs(1);
    settings.faults = faults.clone();
    let cluster = LocalCluster::start(settings).await?;
    let client = cluster.client();
    let begun = Instant::now();
    let spec = work::spec(storm.partitions, storm.pace_millis, &diary);
    kit::submit(&client, "storm", spec).await?;

    for cell in cells() {
        tally.expect(cell.label);
    }
    let mut field = Field {
        cluster: &cluster,
        faults: faults.clone(),
        tally: tally.clone(),
        random: StdRng::seed_from_u64(storm.seed),
        after: JoinSet::new(),
        operators: Vec::new(),
        paused: Vec::new(),
    };
    let waiting = kit::ended(&client, "storm", PATIENCE);
    let ended = tokio::select! {
        ended = waiting => ended,
        never = field.strike_on(storm.every) => match never {},
    };
    let took = begun.elapsed();
    while field.after.join_next().await.is_some() {}
    faults.clear();
    drop(field);
    // The wait was subject to the faults as everything else: what is checked is read without them.
    let run = match ended {
        Ok(_) => kit::ended(&client, "storm", PATIENCE).await?,
        Err(error) => {
            let desks: Api<Worker> = Api::default_namespaced(client.clone());
            let desks = desks.list(&ListParams::default()).await?;
            eprintln!("{}", serde_json::to_string(&desks)?);
            return Err(error).context("the run is stuck; its workers are above");
        }
    };
    work::check_status(&run, storm.partitions)?;
    work::check_files(&diary, storm.partitions)?;
    let waste = work::check_diary(&diary, storm.partitions)?;
    let counts = cluster.counters().read();
    let requests = cluster.server().counters();
    let all = requests.total(|_| true);
    let refused = requests.total(|key| key.class != 2);
    cluster.stop().await?;
    let operators = json!({
        "passes": counts.passes,
        "failedPasses": counts.failed_passes,
        "panickedPasses": counts.panicked_passes,
        "folded": counts.folded,
        "heldInPart": counts.held_in_part,
        "conflicts": counts.conflicts,
    });
    anyhow::ensure!(counts.panicked_passes == 0, "passes panicked: {operators}");
    Ok(Weathered {
        took,
        waste,
        operators,
        requests: (all, refused),
    })
}

impl Field<'_> {
    async fn strike_on(&mut self, every: Duration) -> std::convert::Infallible {
        loop {
            let pause = self.random.random_range(Duration::ZERO..2 * every);
            tokio::time::sleep(pause).await;
            while self.after.try_join_next().is_some() {}
            let blow = BLOWS.choose(&mut self.random).copied().unwrap_or(Blow::Request);
            let open = self.open_shards().await;
            self.strike(blow, open);
        }
    }

    /// Shards in flight: handed out and not sealed. Asked as anybody would; faults may be in the way.
    async fn open_shards(&self) -> usize {
        let desks: Api<Worker> = Api::default_namespaced(self.cluster.client());
        for _ in 0..3 {
            if let Ok(Ok(list)) = tokio::time::timeout(Duration::from_secs(1), desks.list(&ListParams::default())).await
            {
                let open = |desk: &Worker| {
                    let status = desk.status.as_ref();
                    let sealed = |id| {
                        status.is_some_and(|status| status.shards.iter().any(|shard| shard.id == id && shard.sealed))
                    };
                    desk.spec.shards.iter().filter(|shard| !sealed(shard.id)).count()
                };
                return list.iter().map(open).sum();
            }
        }
        0
    }

    fn strike(&mut self, blow: Blow, open: usize) {
        match blow {
            Blow::KillUserCode => {
                if let Some(pid) = self.some_user_code() {
                    self.signal("SIGKILL to a process of user code", pid, Signal::SIGKILL, open);
                }
            }
            Blow::StopUserCode => {
                if let Some(pid) = self.some_user_code() {
                    // Beyond partitionTimeout.
                    self.stop(
                        "SIGSTOP to user code beyond its deadline",
                        pid,
                        Duration::from_secs(7),
                        open,
                    );
                }
            }
            Blow::KillShim => {
                if let Some(pid) = self.some_shim() {
                    self.signal("SIGKILL to a shim", pid, Signal::SIGKILL, open);
                }
            }
            Blow::KillShimAndAllBelow => {
                if let Some(shim) = self.some_shim() {
                    let all = processes::user_code(&[shim]);
                    self.signal("SIGKILL to a shim and all below it", shim, Signal::SIGKILL, open);
                    for pid in all {
                        processes::signal(pid, Signal::SIGKILL);
                    }
                }
            }
            Blow::StopShim => {
                if let Some(pid) = self.some_shim() {
                    let long = Duration::from_millis(self.random.random_range(500..6000));
                    let beyond = if long > LEASE {
                        "beyond its deadline"
                    } else {
                        "for a moment"
                    };
                    self.stop(&format!("SIGSTOP to a shim {beyond}"), pid, long, open);
                }
            }
            Blow::AbortWorker => {
                if let Some(uid) = self.cluster.pods().alive().choose(&mut self.random) {
                    self.cluster.pods().kill(uid);
                    self.tally.add("worker task aborted", 1, open);
                }
            }
            Blow::PauseWorker => self.pause_worker(open),
            Blow::AbortOperator => {
                self.operators.drain(..).for_each(|operator| operator.kill());
                if let Some(first) = self.cluster.operator() {
                    first.kill();
                }
                self.operators.push(self.cluster.operate("again"));
                self.tally.add("operator aborted, another started", 1, open);
            }
            Blow::TwoLeaders => {
                self.operators.push(self.cluster.operate("rival"));
                let gone = self.faults.clone();
                let client = self.cluster.client();
                // The leader goes on until it finds out at its next renewal, which is made slow.
                let slow = Target::any()
                    .plural("leases")
                    .name(braid_operator::runtime::LEADER_LEASE);
                let rule = gone.inject(
                    slow.verb(Verb::Update),
                    Fault::Slow(Duration::from_millis(900)),
                    Times::Count(1),
                );
                self.after.spawn(async move {
                    let leases: Api<k8s_openapi::api::coordination::v1::Lease> = Api::default_namespaced(client);
                    let _ = leases
                        .delete(
                            braid_operator::runtime::LEADER_LEASE,
                            &kube::api::DeleteParams::default(),
                        )
                        .await;
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    gone.remove(rule);
                });
                self.tally.add("leader's Lease deleted, rival started", 1, open);
                if self.operators.len() > 2 {
                    let old = self.operators.remove(0);
                    old.stop();
                }
            }
            Blow::Outage => {
                self.faults.set_outage(true);
                let faults = self.faults.clone();
                let long = Duration::from_millis(self.random.random_range(100..2500));
                self.after.spawn(async move {
                    tokio::time::sleep(long).await;
                    faults.set_outage(false);
                });
                self.tally.add("API server away for up to 2.5 s", 1, open);
            }
            Blow::DropWatches => {
                let ended = self.cluster.server().drop_watches(&Target::any());
                self.tally.add("all watches dropped", u64::from(ended > 0), open);
            }
            Blow::ForgetHistory => {
                self.cluster.server().forget_history();
                let ended = self.cluster.server().drop_watches(&Target::any());
                self.tally.add(
                    "all watches dropped, their versions expired",
                    u64::from(ended > 0),
                    open,
                );
            }
            Blow::Request => self.break_requests(open),
        }
    }

    fn some_shim(&mut self) -> Option<i32> {
        processes::shims(std::process::id()).choose(&mut self.random).copied()
    }

    fn some_user_code(&mut self) -> Option<i32> {
        let all = processes::user_code(&processes::shims(std::process::id()));
        all.choose(&mut self.random).copied()
    }

    fn signal(&self, name: &str, pid: i32, signal: Signal, open: usize) {
        if processes::signal(pid, signal) {
            self.tally.add(name, 1, open);
        }
    }

    fn stop(&mut self, name: &str, pid: i32, long: Duration, open: usize) {
        if processes::signal(pid, Signal::SIGSTOP) {
            self.tally.add(name, 1, open);
            self.after.spawn(async move {
                tokio::time::sleep(long).await;
                processes::signal(pid, Signal::SIGCONT);
            });
        }
    }

    fn pause_worker(&mut self, open: usize) {
        let long = LEASE.mul_f64(self.random.random_range(0.3..2.5));
        let now = Instant::now();
        self.paused.retain(|(_, until)| *until > now);
        let alive = self.cluster.pods().alive();
        let free: Vec<&String> = alive
            .iter()
            .filter(|uid| !self.paused.iter().any(|(paused, _)| paused == *uid))
            .collect();
        let Some(uid) = free.choose(&mut self.random) else {
            return;
        };
        let (pods, resumed) = (self.cluster.pods().clone(), (*uid).clone());
        pods.pause(uid, true);
        self.after.spawn(async move {
            tokio::time::sleep(long).await;
            pods.pause(&resumed, false);
        });
        self.paused.push(((*uid).clone(), now + long));
        let beyond = if long > LEASE {
            "beyond its Lease"
        } else {
            "within its Lease"
        };
        self.tally.add(format!("worker task paused {beyond}"), 1, open);
    }

    /// Breaks some requests of one kind in one way: every other time one of those that open shards have met least.
    fn break_requests(&mut self, open: usize) {
        let cells = cells();
        let hits = |cell: &Cell| self.tally.in_flight(&cell.label);
        let least = cells.iter().map(hits).min().unwrap_or(0);
        let seek = self.random.random_bool(0.5);
        let choice: Vec<&Cell> = cells.iter().filter(|cell| !seek || hits(cell) == least).collect();
        let Some(cell) = choice.choose(&mut self.random) else {
            return;
        };
        if cell.provoke {
            self.strike(Blow::AbortWorker, open);
        }
        let times = self.random.random_range(1..=4);
        let rule = self.faults.inject(cell.target.clone(), cell.fault, Times::Count(times));
        let (faults, label) = (self.faults.clone(), cell.label.clone());
        let tally = self.tally.clone();
        self.after.spawn(async move {
            tokio::time::sleep(RULE_LASTS).await;
            // Only now is it known whom it hit.
            tally.add(label, faults.remove(rule).unwrap_or(0), open);
        });
    }
}

/// A kind of request and what is done to it.
struct Cell {
    label: String,
    target: Target,
    fault: Fault,
    /// It is met only where a worker has ended.
    provoke: bool,
}

/// Every kind of request times every fault, and what can happen to a watch.
fn cells() -> Vec<Cell> {
    let update = |plural: &str| Target::any().verb(Verb::Update).plural(plural);
    let requests = [
        ("commit of a worker", update("workers").status()),
        ("assignment to a worker", update("workers").main()),
        ("status of the run", update("workflows").status()),
        ("any Lease", update("leases")),
        ("reads of workers", Target::any().verb(Verb::Get).plural("workers")),
        ("new desk", Target::any().verb(Verb::Create).plural("workers")),
        ("anything", Target::any()),
    ];
    let faults = [
        ("409 Conflict", Fault::Conflict),
        ("429 Too Many Requests", Fault::TooManyRequests { retry_after: 1 }),
        ("500 Internal Error", Fault::InternalError),
        ("answer lost", Fault::LostAnswer),
        ("done, but 504 Timeout", Fault::LateTimeout),
        ("slow", Fault::Slow(Duration::from_millis(700))),
        ("never answered", Fault::Hang),
    ];
    let of_watches = [
        ("watch dropped", Fault::DroppedWatch),
        ("410 Gone to a watch", Fault::Gone),
    ];
    let all = requests
        .iter()
        .flat_map(|request| faults.iter().map(move |fault| (request, fault)));
    let mut cells: Vec<Cell> = all
        .map(|((name, target), (kind, fault))| Cell {
            label: format!("{name}: {kind}"),
            target: target.clone(),
            fault: *fault,
            provoke: *name == "new desk",
        })
        .collect();
    cells.extend(of_watches.map(|(kind, fault)| Cell {
        label: format!("a watch: {kind}"),
        target: Target::any(),
        fault,
        provoke: false,
    }));
    cells
}
