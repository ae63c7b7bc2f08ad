//! The table against the embedded server, in memory and with its log.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::time::Duration;

use braid_apiserver::ApiServer;
use braid_conformance::{Context, Support, cases, definitions, lacks};

/// Longest time for one case.
const PATIENCE: Duration = Duration::from_secs(30);

async fn run(state_dir: Option<PathBuf>) {
    // A short window lets the case about 410 provoke one.
    let server = ApiServer::builder()
        .crds(definitions())
        .state_dir(state_dir)
        .watch_window(64)
        .build()
        .await
        .unwrap();
    let mut wrong = Vec::new();
    for case in cases() {
        let namespace = format!("case-{}", case.name.replace('_', "-"));
        let context = Context {
            client: server.client(&namespace),
            namespace,
        };
        let Ok(outcome) = tokio::time::timeout(PATIENCE, (case.run)(context)).await else {
            wrong.push(format!("{}: it hangs", case.name));
            continue;
        };
        match (case.support, outcome) {
            (Support::Everywhere, Err(failure)) => wrong.push(format!("{}: {failure}", case.name)),
            (Support::RealOnly(_), Ok(())) => wrong.push(format!("{}: it is supported after all: say so", case.name)),
            _ => {}
        }
    }
    server.shutdown().await.unwrap();
    assert!(
        wrong.is_empty(),
        "{} cases do not hold:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds_in_memory() {
    run(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds_with_a_log() {
    let directory = tempfile::tempdir().unwrap();
    run(Some(directory.path().to_owned())).await;
}

#[test]
fn names_are_unique_and_lacks_are_listed() {
    let mut names: Vec<_> = cases().iter().map(|c| c.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(lacks().contains("| server-side apply | 415; use merge patch or PUT |"));
}
