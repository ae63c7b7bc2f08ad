//! One server for the tests that run at the same time: a start costs seconds.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use braid_cluster::RealApiServer;
use tokio::sync::Mutex;

static SERVER: Mutex<Weak<RealApiServer>> = Mutex::const_new(Weak::new());

/// The server with all definitions; it ends with the last test that has it.
pub async fn server() -> Arc<RealApiServer> {
    let mut shared = SERVER.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let definitions = braid_conformance::definitions();
    let server = RealApiServer::builder().crds(definitions.clone()).start().await;
    let server = server.unwrap_or_else(|error| panic!("{error}"));
    let described = server.until_described(&definitions).await;
    described.unwrap_or_else(|error| panic!("{error}"));
    let server = Arc::new(server);
    *shared = Arc::downgrade(&server);
    server
}

/// A path below the root of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The YAML files of a directory, in order.
pub fn yaml_files(path: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository(path)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}
