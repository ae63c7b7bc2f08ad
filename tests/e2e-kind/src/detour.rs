//! All requests of a cluster's pods to the API server lead over a proxy on this machine.
//!
//! Pods reach the server by its Service, and every node turns the Service's address into the server's. For as long as a detour is
//! open, a rule before that one turns it into the proxy's. The proxy shows the server's own certificate, so pods see no difference.

use std::net::{IpAddr, SocketAddr};

use crate::install::{Suite, suite};
use crate::proxy::{Edge, Identity, Proxy, Verb, Who};

/// By which our rules are known.
const MARK: &str = "braid-detour";
/// Where kubeadm has the server's files.
const FILES: &str = "/etc/kubernetes/pki";
/// Where the server listens in its node.
const PORT: u16 = 6443;

/// The proxy, with all requests of pods led over it. Dropped, they go straight again.
pub struct Detour {
    proxy: Proxy,
}

impl Detour {
    /// Opens it, and has the operators' connections made anew; on return they come this way.
    pub fn open() -> Self {
        let suite = suite();
        let nodes = suite.nodes();
        let control_plane = nodes.iter().find(|node| node.ends_with("-control-plane"));
        let control_plane = control_plane.unwrap_or_else(|| panic!("none of {nodes:?} is the control plane"));
        let file = |name: &str| suite.on_node(control_plane, &format!("cat {FILES}/{name}"));
        let identity = Identity {
            authority: file("ca.crt"),
            certificate: file("apiserver.crt"),
            key: file("apiserver.key"),
        };
        let server = SocketAddr::new(suite.address(control_plane), PORT);
        let proxy = Proxy::start(suite.gateway(), server, &identity, suite.namespace());
        let proxy = proxy.unwrap_or_else(|error| panic!("no proxy: {error}"));
        let service = suite.json(&["get", "service", "kubernetes", "--namespace=default"]);
        let service = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
        let detour = Self { proxy };
        for node in &nodes {
            close(suite, node);
            suite.on_node(
                node,
                &format!(
                    "iptables -t nat -I PREROUTING 1 -d {service}/32 -p tcp --dport 443 -m comment --comment {MARK} \
                     -j DNAT --to-destination {}",
                    detour.proxy.address()
                ),
            );
        }
        suite.renew_operators();
        let elects = Edge::new(Who::Operator, Verb::Update, "leases/leader");
        crate::space::until("an operator comes by the detour", || {
            detour.proxy.edges().contains_key(&elects).then_some(())
        });
        detour
    }

    /// What all pods' requests go over.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        close_all(suite());
    }
}

/// Removes what a detour has left that did not end in order.
pub(crate) fn close_all(suite: &Suite) {
    for node in suite.nodes() {
        close(suite, &node);
    }
}

fn close(suite: &Suite, node: &str) {
    suite.on_node(
        node,
        &format!(
            "iptables -t nat -S PREROUTING | grep {MARK} | sed 's/^-A/-D/' | \
             while read -r rule; do eval \"iptables -t nat $rule\" || exit; done"
        ),
    );
}

impl Suite {
    /// A script's output, in a node.
    #[track_caller]
    pub fn on_node(&self, node: &str, script: &str) -> String {
        self.docker(&["exec", node, "sh", "-c", script])
    }

    /// The address of a node.
    fn address(&self, node: &str) -> IpAddr {
        let format = "--format={{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        first_address(&self.docker(&["inspect", format, node]))
    }

    /// This machine's address in the network of the nodes.
    fn gateway(&self) -> IpAddr {
        let format = "--format={{range .IPAM.Config}}{{.Gateway}} {{end}}";
        first_address(&self.docker(&["network", "inspect", format, "kind"]))
    }
}

fn first_address(words: &str) -> IpAddr {
    let mut found = words.split_whitespace().filter_map(|word| word.parse().ok());
    let first = found.find(IpAddr::is_ipv4);
    first.unwrap_or_else(|| panic!("there is no address in {words:?}"))
}
