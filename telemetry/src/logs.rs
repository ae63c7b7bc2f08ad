//! What is never logged, whatever is asked for.

use tracing::Metadata;
use tracing_subscriber::filter::FilterFn;

/// Where the client of the API server logs answers that it cannot read: whole, with whatever is in them.
const BODIES: &str = "kube_client::client";

/// Lets everything pass but the bodies of answers: objects hold commands, environment and data.
#[must_use]
pub fn without_bodies() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    FilterFn::new(|metadata| metadata.is_span() || metadata.target() != BODIES)
}
