//! Heartbeats on the embedded API server, in paused time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use braid_apiserver::{ApiServer, Fault, Target, Times, Verb};
use braid_sync::{
    Clock,
    heartbeat::{Heartbeat, HeartbeatError, Rhythm, identity},
    observer::{Observer, Patience, sightings},
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use tokio_util::sync::CancellationToken;

async fn server_with_lease() -> (ApiServer, Api<Lease>) {
    let server = ApiServer::builder().build().await.unwrap();
    let api: Api<Lease> = Api::namespaced(server.client("default"), "default");
    let mut lease = Lease::default();
    lease.metadata.name = Some("w".to_owned());
    api.create(&PostParams::default(), &lease).await.unwrap();
    (server, api)
}

fn heartbeat(api: &Api<Lease>, start: &str) -> Heartbeat {
    Heartbeat::new(api.clone(), "w", "pod", start, Rhythm::of_workers(4))
}

async fn holder(api: &Api<Lease>) -> Option<String> {
    api.get("w").await.unwrap().spec?.holder_identity
}

#[tokio::test(start_paused = true)]
async fn it_takes_the_lease_and_renews_until_stopped() {
    let (_server, api) = server_with_lease().await;
    let heartbeat = heartbeat(&api, "s1");
    let health = heartbeat.health();
    let stop = CancellationToken::new();
    let task = tokio::spawn(heartbeat.run(stop.clone()));
    tokio::time::sleep(Duration::from_mins(1)).await;
    stop.cancel();
    assert_eq!(task.await.unwrap(), Ok(()));
    assert_eq!(holder(&api).await, Some(identity("pod", "s1")));
    let lease = api.get("w").await.unwrap().spec.unwrap();
    assert_eq!(lease.lease_duration_seconds, Some(15));
    let renewals = health.borrow().renewals;
    assert!(
        (12..=16).contains(&renewals),
        "{renewals} renewals in a minute, every 4 to 5 s"
    );
}

#[tokio::test(start_paused = true)]
async fn commits_spare_renewals() {
    let (_server, api) = server_with_lease().await;
    let heartbeat = heartbeat(&api, "s1");
    let (health, pulse) = (heartbeat.health(), heartbeat.pulse());
    let stop = CancellationToken::new();
    let task = tokio::spawn(heartbeat.run(stop.clone()));
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        pulse.committed();
    }
    assert_eq!(health.borrow().renewals, 1, "only the one that takes the Lease");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(health.borrow().renewals > 3, "without commits it renews again");
    stop.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_newer_start_takes_over_and_the_older_ends() {
    let (_server, api) = server_with_lease().await;
    let stop = CancellationToken::new();
    let old = tokio::spawn(heartbeat(&api, "s1").run(stop.clone()));
    tokio::time::sleep(Duration::from_secs(12)).await;
    let new = tokio::spawn(heartbeat(&api, "s2").run(stop.clone()));
    let ended = tokio::time::timeout(Duration::from_mins(1), old)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        ended,
        Err(HeartbeatError::Superseded {
            name: "w".to_owned(),
            by: identity("pod", "s2")
        })
    );
    assert_eq!(holder(&api).await, Some(identity("pod", "s2")));
    stop.cancel();
    new.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_survives_every_fault() {
    let (server, api) = server_with_lease().await;
    let heartbeat = heartbeat(&api, "s1");
    let mut health = heartbeat.health();
    let stop = CancellationToken::new();
    let task = tokio::spawn(heartbeat.run(stop.clone()));
    for verb in [Verb::Get, Verb::Update] {
        for fault in [
            Fault::Conflict,
            Fault::InternalError,
            Fault::LostAnswer,
            Fault::LateTimeout,
            Fault::TooManyRequests { retry_after: 1 },
            Fault::Slow(Duration::from_secs(9)),
            Fault::Hang,
        ] {
            server
                .faults()
                .inject(Target::any().verb(Verb::Update), Fault::Conflict, Times::Once);
            server.faults().inject(Target::any().verb(verb), fault, Times::Count(3));
            tokio::time::sleep(Duration::from_mins(1)).await;
            let before = health.borrow_and_update().renewals;
            tokio::time::timeout(
                Duration::from_mins(1),
                health.wait_for(|now| now.renewals > before && now.failures == 0),
            )
            .await
            .unwrap_or_else(|_| panic!("{verb:?} {fault:?}: no renewal"))
            .unwrap();
        }
    }
    stop.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_missing_lease_is_waited_for() {
    let server = ApiServer::builder().build().await.unwrap();
    let api: Api<Lease> = Api::namespaced(server.client("default"), "default");
    let heartbeat = heartbeat(&api, "s1");
    let mut health = heartbeat.health();
    let stop = CancellationToken::new();
    let task = tokio::spawn(heartbeat.run(stop.clone()));
    tokio::time::timeout(Duration::from_mins(1), health.wait_for(|now| now.failures > 3))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(health.borrow().trouble, "not found");
    let mut lease = Lease::default();
    lease.metadata.name = Some("w".to_owned());
    api.create(&PostParams::default(), &lease).await.unwrap();
    tokio::time::timeout(Duration::from_mins(1), health.wait_for(|now| now.renewals > 0))
        .await
        .unwrap()
        .unwrap();
    stop.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_a_heartbeat_and_its_end() {
    let (_server, api) = server_with_lease().await;
    let heartbeat = heartbeat(&api, "s1");
    let patience = Patience::of(Rhythm::of_workers(4).period());
    let (clock, mut observer) = (Clock::start(), Observer::new(patience));
    let stop = CancellationToken::new();
    let task = tokio::spawn(heartbeat.run(stop.clone()));
    let mut given_up = Vec::new();
    for look in 0..80 {
        if look == 40 {
            stop.cancel();
        }
        let sent = clock.now();
        let seen = sightings(&api, &ListParams::default(), Duration::from_secs(1))
            .await
            .unwrap();
        observer.read(sent, clock.now(), seen);
        let lost = observer.give_up(clock.now());
        assert!(look >= 40 || lost.is_empty(), "given up while it lived");
        given_up.extend(lost);
        tokio::time::sleep(patience.read_every()).await;
    }
    assert_eq!(given_up, ["default/w"]);
    task.await.unwrap().unwrap();
}
