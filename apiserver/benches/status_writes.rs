//! PUTs of status per second: a Worker of about 4 kB, one client and eight, in memory and with the log.
//!
//! `cargo bench -p braid-apiserver --bench status_writes`. Prints one line per setting.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss
)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use braid_apiserver::ApiServer;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};

/// How long each setting is measured.
const SPAN: Duration = Duration::from_secs(3);

fn workers(client: kube::Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("braid.dev", "v1alpha1", "Worker");
    Api::default_namespaced_with(client, &ApiResource::from_gvk_with_plural(&kind, "workers"))
}

fn digest(of: u32) -> String {
    format!("sha256:{of:064x}")
}

fn worker(name: &str) -> DynamicObject {
    let shard = |id: u32| {
        json!({
            "id": id, "for": "11111111-2222-4333-8444-555555555555-1", "start": id * 1000, "end": id * 1000 + 1000,
            "budgetMillis": 10_000,
            "run": {"workflow": "census", "uid": "u", "step": "count", "round": 0, "card": digest(1), "plan": digest(2)},
        })
    };
    serde_json::from_value(json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Worker", "metadata": {"name": name},
        "spec": {
            "podUID": "11111111-2222-4333-8444-555555555555", "pool": "default", "nextShardId": 3,
            "cards": [{
                "digest": digest(1), "command": ["sh", "-c"], "args": ["wc -l \"$1\""], "script": "x".repeat(1200),
                "concurrency": 1, "source": {"files": {"url": "/data/**"}}, "attempts": 3,
            }],
            "shards": [shard(1), shard(2)],
        },
    }))
    .unwrap()
}

fn status(cursor: u64) -> Value {
    json!({
        "startId": "11111111-2222-4333-8444-555555555555-1", "protocol": {"min": 1, "max": 1},
        "shards": [{
            "id": 1, "startId": "11111111-2222-4333-8444-555555555555-1", "cursor": 1000 + cursor % 1000,
            "partials": [{"name": "lines", "state": "A".repeat(1200)}], "retried": cursor,
        }],
    })
}

async fn measure(clients: usize, state_dir: Option<PathBuf>) -> (f64, usize) {
    let server = ApiServer::builder()
        .crds(braid_crds::definitions())
        .state_dir(state_dir)
        .build()
        .await
        .unwrap();
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        let api = workers(server.client("default"));
        tasks.spawn(async move {
            let name = format!("w{client}");
            let mut now = api.create(&PostParams::default(), &worker(&name)).await.unwrap();
            let mut writes = 0_u64;
            while begin.elapsed() < SPAN {
                // A cursor never falls: it stays within one shard's thousand and the counter beside it moves.
                let mut status = status(0);
                status["shards"][0]["retried"] = json!(writes);
                now.data["status"] = status;
                now = api.replace_status(&name, &PostParams::default(), &now).await.unwrap();
                writes += 1;
            }
            (writes, serde_json::to_vec(&now).unwrap().len())
        });
    }
    let ends = tasks.join_all().await;
    let writes: u64 = ends.iter().map(|(writes, _)| writes).sum();
    let size = ends.first().map_or(0, |(_, size)| *size);
    server.shutdown().await.unwrap();
    (writes as f64 / begin.elapsed().as_secs_f64(), size)
}

#[tokio::main]
async fn main() {
    for logged in [false, true] {
        for clients in [1, 8] {
            let directory = tempfile::tempdir().unwrap();
            let state_dir = logged.then(|| directory.path().to_owned());
            let (rate, size) = measure(clients, state_dir).await;
            let place = if logged { "with the log" } else { "in memory" };
            println!("{clients} client(s), {place}: {rate:.0} status PUT/s of {size} bytes");
        }
    }
}
