//! What changes, as it changes: a watch of kubectl, each event with the moment of its arrival.

use std::io::BufReader;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use braid_e2e_kind::suite;
use serde_json::{Deserializer, Value};

/// A watch; it ends when dropped.
pub struct Events {
    kubectl: Child,
    arrived: Receiver<(Instant, Value)>,
}

impl Events {
    /// Of all objects of a kind in a namespace, beginning with those that are there.
    pub fn of(kind: &str, namespace: &str) -> Self {
        let mut kubectl = suite()
            .kubectl_program()
            .args(["get", kind, "--watch", "--output-watch-events", "--output=json"])
            .args(["--namespace", namespace])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("kubectl: {error}"));
        let output = kubectl.stdout.take().unwrap();
        let (sender, arrived) = channel();
        thread::spawn(move || {
            let events = Deserializer::from_reader(BufReader::new(output)).into_iter::<Value>();
            for mut event in events.map_while(Result::ok) {
                if sender.send((Instant::now(), event["object"].take())).is_err() {
                    return;
                }
            }
        });
        Self { kubectl, arrived }
    }

    /// What has arrived and was not looked at.
    pub fn rest(&self) -> Vec<(Instant, Value)> {
        self.arrived.try_iter().collect()
    }

    /// The moment of the first event, arrived or to arrive, that is of interest.
    pub fn first(&self, what: &str, patience: Duration, mut is_it: impl FnMut(Instant, &Value) -> bool) -> Instant {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok((at, object)) = self.arrived.recv_timeout(left) else {
                panic!("{what}: not within {} s", patience.as_secs());
            };
            if is_it(at, &object) {
                return at;
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}
