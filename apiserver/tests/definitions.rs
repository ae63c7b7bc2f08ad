//! Braid's own kinds on the server: every schema and rule compiles, and the rules do what they say.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use braid_apiserver::ApiServer;

#[tokio::test]
async fn every_definition_compiles() {
    ApiServer::builder()
        .crds(braid_crds::definitions())
        .build()
        .await
        .unwrap();
}
