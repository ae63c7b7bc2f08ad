//! What the programs are started with, and the files that they read. All paths are relative to the server's directory, in which they
//! all run.

use std::fs;
use std::path::Path;

use crate::certificates::{Authority, Pair, Tokens};
use crate::server::StartError;

/// The controllers' way to the server.
pub(crate) const CONTROLLERS_KUBECONFIG: &str = "controllers.kubeconfig";

/// Writes certificates and keys.
pub(crate) fn write_files(directory: &Path, authority: &Authority) -> Result<(), StartError> {
    let write = |name: &str, text: &str| fs::write(directory.join(name), text);
    let write_pair = |name: &str, pair: &Pair| {
        write(&format!("{name}.crt"), &pair.certificate)?;
        write(&format!("{name}.key"), &pair.key)
    };
    write("ca.crt", authority.pem())?;
    let tokens = Tokens::new()?;
    write("tokens.key", &tokens.private)?;
    write("tokens.pub", &tokens.public)?;
    write_pair("etcd", &authority.server("etcd")?)?;
    write_pair("apiserver", &authority.server("kube-apiserver")?)?;
    write_pair("apiserver-etcd", &authority.client("kube-apiserver", &[])?)?;
    Ok(())
}

fn all(arguments: &[String]) -> Vec<String> {
    arguments.iter().map(|argument| format!("--{argument}")).collect()
}

/// etcd, on one port. Its certificates keep an API server from the store of another that took over a port.
pub(crate) fn etcd(port: u16) -> Vec<String> {
    all(&[
        "name=default".into(),
        "data-dir=etcd".into(),
        format!("listen-client-urls=https://127.0.0.1:{port}"),
        format!("advertise-client-urls=https://127.0.0.1:{port}"),
        // A cluster of one: nobody calls it as a peer.
        "listen-peer-urls=http://127.0.0.1:0".into(),
        "initial-advertise-peer-urls=http://127.0.0.1:1".into(),
        "initial-cluster=default=http://127.0.0.1:1".into(),
        "client-cert-auth=true".into(),
        "trusted-ca-file=ca.crt".into(),
        "cert-file=etcd.crt".into(),
        "key-file=etcd.key".into(),
        // Nothing of a test outlives the machine.
        "unsafe-no-fsync=true".into(),
    ])
}

/// kube-apiserver with the admission plugins and the authorization of a cluster.
pub(crate) fn apiserver(store: u16, port: u16) -> Vec<String> {
    all(&[
        format!("etcd-servers=https://127.0.0.1:{store}"),
        "etcd-cafile=ca.crt".into(),
        "etcd-certfile=apiserver-etcd.crt".into(),
        "etcd-keyfile=apiserver-etcd.key".into(),
        "bind-address=127.0.0.1".into(),
        "advertise-address=127.0.0.1".into(),
        format!("secure-port={port}"),
        "tls-cert-file=apiserver.crt".into(),
        "tls-private-key-file=apiserver.key".into(),
        "client-ca-file=ca.crt".into(),
        "authorization-mode=Node,RBAC".into(),
        "anonymous-auth=false".into(),
        "service-account-issuer=https://kubernetes.default.svc".into(),
        "service-account-signing-key-file=tokens.key".into(),
        "service-account-key-file=tokens.pub".into(),
        "service-cluster-ip-range=10.96.0.0/16".into(),
        // There is no network in which anybody could reach it by its Service.
        "endpoint-reconciler-type=none".into(),
        // Nothing is in flight that a drain should wait for.
        "shutdown-delay-duration=0s".into(),
    ])
}

/// The controllers that objects alone need: those for pods have nothing to do without nodes.
pub(crate) fn controllers() -> Vec<String> {
    all(&[
        format!("kubeconfig={CONTROLLERS_KUBECONFIG}"),
        "controllers=garbage-collector-controller,namespace-controller,serviceaccount-controller,\
         validatingadmissionpolicy-status-controller"
            .into(),
        "leader-elect=false".into(),
        "secure-port=0".into(),
        "use-service-account-credentials=true".into(),
        "service-account-private-key-file=tokens.key".into(),
    ])
}
