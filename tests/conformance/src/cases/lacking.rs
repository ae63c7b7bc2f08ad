//! What real servers have and the embedded one refuses.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::harness::{Failure, check, refused, same};
use crate::{Context, Outcome};

pub(super) async fn server_side_apply(c: Context) -> Outcome {
    let thing = c.thing("a", &json!({"size": 1}));
    c.things()
        .patch("a", &PatchParams::apply("conformance"), &Patch::Apply(thing))
        .await?;
    Ok(())
}

pub(super) async fn json_patch(c: Context) -> Outcome {
    c.create("a", &json!({"size": 1})).await?;
    let patch = json!([{"op": "replace", "path": "/spec/size", "value": 2}]).to_string();
    c.raw("PATCH", "things/a", "application/json-patch+json", patch.as_bytes())
        .await?;
    Ok(())
}

pub(super) async fn jobs(c: Context) -> Outcome {
    Api::<Job>::namespaced(c.client.clone(), &c.namespace)
        .list(&ListParams::default())
        .await?;
    Ok(())
}

pub(super) async fn namespaces(c: Context) -> Outcome {
    Api::<Namespace>::all(c.client.clone()).get(&c.namespace).await?;
    Ok(())
}

pub(super) async fn managed_fields(c: Context) -> Outcome {
    let made = c.create("a", &json!({"size": 1})).await?;
    check(
        "fields have managers",
        made.metadata.managed_fields.is_some_and(|m| !m.is_empty()),
    )
}

pub(super) async fn paged_lists(c: Context) -> Outcome {
    c.create("a", &json!({})).await?;
    c.create("b", &json!({})).await?;
    let page = c.things().list(&ListParams::default().limit(1)).await?;
    same("a page", page.items.len(), 1)
}

pub(super) async fn scale(c: Context) -> Outcome {
    c.create("a", &json!({"size": 3})).await?;
    let scale = c.things().get_scale("a").await?;
    same("replicas", scale.spec.and_then(|spec| spec.replicas), Some(3))
}

/// A definition whose rule could take too long is refused before any object of it exists.
pub(super) async fn definitions_are_judged(c: Context) -> Outcome {
    let costly = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "costlies.conformance.braid.dev"},
        "spec": {
            "group": "conformance.braid.dev", "scope": "Namespaced",
            "names": {"plural": "costlies", "singular": "costly", "kind": "Costly", "listKind": "CostlyList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {
                    "type": "object",
                    "properties": {"names": {"type": "array", "items": {"type": "string"}}},
                    "x-kubernetes-validations": [
                        {"rule": "self.names.all(a, self.names.all(b, self.names.exists(d, d == a + b)))"},
                    ],
                }},
            }}}],
        },
    });
    let definitions: Api<CustomResourceDefinition> = Api::all(c.client.clone());
    let costly = serde_json::from_value(costly).map_err(|error| Failure::new(error.to_string()))?;
    let only_try = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let refusal = refused(definitions.create(&only_try, &costly).await)?;
    check(
        &refusal.message,
        refusal.code == 422 && refusal.message.contains("cost"),
    )
}
