//! kubectl within a worker's pod: what the pod's own token may do, asked from where the token is.

use std::process::Output;

use braid_cluster::image::{Image, Layer};
use braid_cluster::kind;
use serde_json::{Value, json};

use crate::install::suite;
use crate::space::Space;

const IMAGE: &str = "braid.local/prober:test";
const NAME: &str = "prober";
const CACHE: &str = "/cache";
/// Where the worker has its token, and the prober too.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A container that was put into a running pod, with the worker's token.
pub struct Prober<'a> {
    space: &'a Space,
    pod: String,
}

impl<'a> Prober<'a> {
    /// Starts it in a pod.
    pub fn attach(space: &'a Space, pod: &str) -> Self {
        let cluster = &suite().cluster;
        let file = std::env::temp_dir().join(format!("braid-prober-{}.tar", std::process::id()));
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": {
                "server": "https://kubernetes.default.svc",
                "certificate-authority": format!("{ACCOUNT}/ca.crt"),
            }}],
            "users": [{"name": "pod", "user": {"tokenFile": format!("{ACCOUNT}/token")}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "pod"}}],
            "current-context": "here",
        });
        Image::new(IMAGE)
            .entrypoint(["/kubectl"])
            .env("KUBECONFIG", "/etc/kubeconfig")
            // What the server knows is asked for once: who reads and then writes wants nothing to happen between.
            .env("KUBECACHEDIR", CACHE)
            .user(65532, 65532)
            .layer(Layer::default().file("kubectl", &cluster.kubectl, 0o755))
            .layer(Layer::default().directory(CACHE.trim_start_matches('/'), 0o777))
            .layer(Layer::default().bytes("etc/kubeconfig", kubeconfig.to_string(), 0o644))
            .write(&file)
            .unwrap();
        let loaded = kind::load(&cluster.name, &file, &|_| ());
        std::fs::remove_file(&file).unwrap();
        loaded.unwrap_or_else(|error| panic!("{error}"));
        let container = json!({"spec": {"ephemeralContainers": [{
            "name": NAME,
            "image": IMAGE,
            // What stays until it is killed.
            "command": ["/kubectl", "proxy", "--port=0"],
            "volumeMounts": [{"name": "braid-token", "mountPath": ACCOUNT, "readOnly": true}],
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "runAsNonRoot": true,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }]}});
        suite().kubectl(&[
            "patch",
            "pod",
            pod,
            "--namespace",
            space.name(),
            "--subresource=ephemeralcontainers",
            "--patch",
            &container.to_string(),
        ]);
        let prober = Self {
            space,
            pod: pod.to_owned(),
        };
        space.until("the prober runs", || {
            let pod = suite().json(&["get", "pod", &prober.pod, "--namespace", space.name()]);
            let state = &pod["status"]["ephemeralContainerStatuses"][0]["state"];
            (state["running"] != Value::Null).then_some(())
        });
        prober
    }

    /// `kubectl` with these words, in the pod, with the pod's token.
    pub fn kubectl(&self, words: &[&str], input: Option<&str>) -> Output {
        let mut all = vec!["exec", "--namespace", self.space.name(), &self.pod, "--container", NAME];
        if input.is_some() {
            all.push("--stdin");
        }
        all.extend(["--", "/kubectl"]);
        all.extend(words);
        suite().try_kubectl(&all, input)
    }

    /// Whether a verb is allowed on a resource or on `resource/subresource`, as the server says.
    pub fn may(&self, verb: &str, what: &str, namespace: &str) -> bool {
        let (what, part) = what.split_once('/').unwrap_or((what, ""));
        let part = format!("--subresource={part}");
        let output = self.kubectl(&["auth", "can-i", verb, what, &part, "--namespace", namespace], None);
        String::from_utf8_lossy(&output.stdout).trim() == "yes"
    }
}
