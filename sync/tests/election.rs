//! Candidates on the embedded API server, in paused time: losses, outages, hand-overs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use braid_apiserver::{ApiServer, Fault, Target, Times as Often, Verb};
use braid_sync::election::{Elector, Ended, Lead, Leadership, Times};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::DeleteParams};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

const LONG: Duration = Duration::from_mins(5);

struct Candidate {
    leadership: watch::Receiver<Leadership>,
    stop: CancellationToken,
    task: JoinHandle<Ended>,
}

impl Candidate {
    async fn leads(&mut self) -> u64 {
        let leading = timeout(
            LONG,
            self.leadership
                .wait_for(|now| matches!(now, Leadership::Leading { .. })),
        )
        .await
        .expect("leads in time")
        .unwrap()
        .clone();
        match leading {
            Leadership::Leading { term } => term,
            Leadership::Following { .. } => unreachable!(),
        }
    }

    async fn follows(&mut self) {
        timeout(
            LONG,
            self.leadership
                .wait_for(|now| matches!(now, Leadership::Following { .. })),
        )
        .await
        .expect("follows in time")
        .unwrap();
    }
}

/// A candidate whose work counts itself while it runs, and ends when told to.
fn candidate(server: &ApiServer, me: &str, working: &Arc<AtomicUsize>) -> Candidate {
    let api: Api<Lease> = Api::namespaced(server.client("default"), "default");
    let elector = Elector::new(api, "braid-operator", me, Times::default()).unwrap();
    let leadership = elector.leadership();
    let stop = CancellationToken::new();
    let working = working.clone();
    let task = tokio::spawn(elector.run(stop.clone(), move |lead: Lead| {
        let working = working.clone();
        async move {
            assert_eq!(working.fetch_add(1, Ordering::SeqCst), 0, "two at work");
            lead.lost.cancelled().await;
            working.fetch_sub(1, Ordering::SeqCst);
        }
    }));
    Candidate { leadership, stop, task }
}

async fn server() -> ApiServer {
    ApiServer::builder().build().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_stopped_leader_releases_and_the_next_need_not_wait() {
    let server = server().await;
    let working = Arc::default();
    let mut first = candidate(&server, "a", &working);
    assert_eq!(first.leads().await, 1);
    let mut second = candidate(&server, "b", &working);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(matches!(&*second.leadership.borrow(), Leadership::Following { holder: Some(a) } if a == "a"));
    first.stop.cancel();
    assert_eq!(first.task.await.unwrap(), Ended::Stopped);
    let released = tokio::time::Instant::now();
    assert_eq!(second.leads().await, 2, "a new grant has a new term");
    assert!(
        released.elapsed() < Times::default().renew_deadline,
        "nobody had to wait for the Lease to run out"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_followed_after_the_duration() {
    let server = server().await;
    let (mut first, mut second) = (
        candidate(&server, "a", &Arc::default()),
        candidate(&server, "b", &Arc::default()),
    );
    first.leads().await;
    first.task.abort();
    let died = tokio::time::Instant::now();
    second.leads().await;
    assert!(died.elapsed() + Times::default().retry_period >= Times::default().duration);
    second.stop.cancel();
    second.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_write_stops_before_another_begins() {
    let server = server().await;
    let working: Arc<AtomicUsize> = Arc::default();
    let mut first = candidate(&server, "a", &working);
    let term = first.leads().await;
    for fault in [
        Fault::InternalError,
        Fault::Conflict,
        Fault::TooManyRequests { retry_after: 1 },
        Fault::Hang,
    ] {
        first.leads().await;
        let rule = server
            .faults()
            .inject(Target::any().verb(Verb::Update), fault, Often::Always);
        first.follows().await;
        assert_eq!(working.load(Ordering::SeqCst), 0, "{fault:?}: the work has ended");
        server.faults().remove(rule);
    }
    assert!(first.leads().await > term);
}

#[tokio::test(start_paused = true)]
async fn lost_answers_do_not_cost_the_lead() {
    let server = server().await;
    let mut first = candidate(&server, "a", &Arc::default());
    let term = first.leads().await;
    for _ in 0..20 {
        server
            .faults()
            .inject(Target::any().verb(Verb::Update), Fault::LostAnswer, Often::Once);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(*first.leadership.borrow_and_update(), Leadership::Leading { term });
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_costs_the_lead_and_nothing_else() {
    let server = server().await;
    let working = Arc::default();
    let (mut first, second) = (candidate(&server, "a", &working), candidate(&server, "b", &working));
    first.leads().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let api: Api<Lease> = Api::namespaced(server.client("default"), "default");
    api.delete("braid-operator", &DeleteParams::default()).await.unwrap();
    let again = first.leadership.wait_for(|now| *now == Leadership::Leading { term: 2 });
    timeout(LONG, again).await.expect("a new grant").unwrap();
    first.stop.cancel();
    second.stop.cancel();
    first.task.await.unwrap();
    second.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn work_that_ends_by_itself_ends_the_election() {
    let server = server().await;
    let api: Api<Lease> = Api::namespaced(server.client("default"), "default");
    let elector = Elector::new(api.clone(), "l", "a", Times::default()).unwrap();
    let ended = timeout(LONG, elector.run(CancellationToken::new(), |_| async {}))
        .await
        .unwrap();
    assert_eq!(ended, Ended::WorkEnded);
    let holder = api.get("l").await.unwrap().spec.unwrap().holder_identity;
    assert_eq!(holder.as_deref(), Some(""), "released");
}

#[tokio::test(start_paused = true)]
async fn work_that_does_not_end_is_dropped() {
    let server = server().await;
    let api: Api<Lease> = Api::namespaced(server.client("default"), "default");
    let elector = Elector::new(api, "l", "a", Times::default())
        .unwrap()
        .drain(Duration::from_secs(3));
    let mut leadership = elector.leadership();
    let stop = CancellationToken::new();
    let run = tokio::spawn(elector.run(stop.clone(), |_| std::future::pending()));
    leadership
        .wait_for(|now| matches!(now, Leadership::Leading { .. }))
        .await
        .unwrap();
    stop.cancel();
    assert_eq!(timeout(LONG, run).await.unwrap().unwrap(), Ended::Stopped);
}
