//! The table of cases on a real server.

use std::sync::Arc;
use std::time::Duration;

use braid_cluster::RealApiServer;
use braid_conformance::{Case, Context, cases};
use futures::StreamExt as _;

use crate::fixture;

/// Longest time for one case: the collector of a busy machine takes its time.
const PATIENCE: Duration = Duration::from_mins(1);
/// Cases at a time.
const TOGETHER: usize = 4;

/// What was wrong, if anything.
async fn run(server: Arc<RealApiServer>, case: Case) -> Option<String> {
    let namespace = format!("case-{}", case.name.replace('_', "-"));
    // Names of namespaces are shorter than names of functions may be.
    let namespace = namespace
        .get(..63)
        .unwrap_or(&namespace)
        .trim_end_matches('-')
        .to_owned();
    server.create_namespace(&namespace).await.unwrap();
    let context = Context {
        client: server.client(&namespace).await.unwrap(),
        namespace,
    };
    match tokio::time::timeout(PATIENCE, (case.run)(context)).await {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(format!("{}: {failure}", case.name)),
        Err(_) => Some(format!("{}: it hangs", case.name)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds() {
    let server = fixture::server().await;
    let all = cases();
    let count = all.len();
    let outcomes = futures::stream::iter(all)
        .map(|case| run(server.clone(), case))
        .buffer_unordered(TOGETHER);
    let wrong: Vec<String> = outcomes.filter_map(std::future::ready).collect().await;
    println!("{} of {count} cases hold", count - wrong.len());
    assert!(
        wrong.is_empty(),
        "{} of {count} cases do not hold:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
