//! Who is to look when a worker's object changes.
//!
//! Its run always: what is on a desk is the run's business. Its pool only if something changed that pools look at: every shard
//! changes its Worker several times, and a pass over a pool asks the API server for the pool's Job.

use std::collections::HashMap;

use braid_crds::{StartId, Worker};
use kube::ResourceExt as _;

use crate::names;

/// What a pool looks at in a Worker.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Concern {
    uid: String,
    pod_uid: String,
    start: Option<StartId>,
    is_empty: bool,
    is_draining: bool,
}

impl Concern {
    fn of(worker: &Worker) -> Self {
        Self {
            uid: names::uid(worker),
            pod_uid: worker.spec.pod_uid.clone(),
            start: worker.status.as_ref().and_then(|status| status.start_id.clone()),
            is_empty: worker.spec.shards.is_empty(),
            is_draining: worker.spec.drain,
        }
    }
}

/// What pools have seen of workers, by namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Concerns(HashMap<(String, String), Concern>);

impl Concerns {
    /// Whether a pool has to look at a worker that a watch shows, and that is there or has gone.
    pub(crate) fn changes(&mut self, worker: &Worker, is_there: bool) -> bool {
        let key = (worker.namespace().unwrap_or_default(), worker.name_any());
        if !is_there {
            self.0.remove(&key);
            return true;
        }
        let now = Concern::of(worker);
        if self.0.get(&key) == Some(&now) {
            return false;
        }
        self.0.insert(key, now);
        true
    }

    /// Forgets those that are gone, should their going not have been seen.
    pub(crate) fn keep(&mut self, is_there: impl Fn(&str, &str) -> bool) {
        self.0.retain(|(namespace, name), _| is_there(namespace, name));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    fn worker(shards: &[i64], committed: bool, start: Option<&str>) -> Worker {
        let run = json!({"workflow": "w", "uid": "u", "step": "s", "round": 0, "plan": "", "card": "c"});
        let shard = |id: &i64| json!({"id": id, "for": "s", "run": run, "start": 0, "end": 1, "budgetMillis": 1, "mode": "Normal"});
        let commits = |id: &i64| json!({"id": id, "startId": "s", "cursor": 1, "sealed": committed});
        serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Worker",
            "metadata": {"name": "w0", "namespace": "n", "uid": "u0"},
            "spec": {"podUID": "p", "pool": "pool", "shards": shards.iter().map(shard).collect::<Vec<_>>()},
            "status": {
                "startId": start, "protocol": {"min": 1, "max": 1},
                "shards": shards.iter().map(commits).collect::<Vec<_>>(),
            },
        }))
        .unwrap()
    }

    #[test]
    fn pools_look_at_comings_and_goings_and_not_at_shards() {
        let mut concerns = Concerns::default();
        let steps = [
            (worker(&[], false, None), true, true),
            (worker(&[], false, Some("s")), true, true),
            // Work comes, is done, is followed by more.
            (worker(&[1], false, Some("s")), true, true),
            (worker(&[1], true, Some("s")), true, false),
            (worker(&[2], false, Some("s")), true, false),
            (worker(&[2, 3], true, Some("s")), true, false),
            // The desk is empty: it may be closed now.
            (worker(&[], false, Some("s")), true, true),
            (worker(&[], false, Some("s")), false, true),
        ];
        for (index, (worker, is_there, looks)) in steps.into_iter().enumerate() {
            assert_eq!(concerns.changes(&worker, is_there), looks, "{index}");
        }
        assert_eq!(concerns.len(), 0);
    }

    #[test]
    fn those_whose_going_was_not_seen_are_forgotten() {
        let mut concerns = Concerns::default();
        concerns.changes(&worker(&[], false, None), true);
        concerns.keep(|namespace, name| (namespace, name) != ("n", "w0"));
        assert_eq!(concerns.len(), 0);
    }
}
