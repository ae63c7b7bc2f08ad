//! A definition for tests, with a bit of everything that schemas can say.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

/// `widgets.test.braid.dev`.
pub(crate) fn widget_crd() -> CustomResourceDefinition {
    serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.test.braid.dev"},
        "spec": {
            "group": "test.braid.dev", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "size": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 100, "default": 1},
                        "color": {"type": "string", "enum": ["Red", "Blue"]},
                        "title": {"type": "string", "maxLength": 8, "pattern": "^[a-z]*$"},
                    }},
                    "status": {"type": "object", "properties": {
                        "count": {"type": "integer", "x-kubernetes-validations": [
                            {"rule": "self >= oldSelf", "message": "count never falls"},
                        ]},
                        "blob": {"type": "string"},
                    }},
                }}},
            }],
        },
    }))
    .expect("a definition")
}

pub(crate) fn widget(name: &str, spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "test.braid.dev/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec,
    }))
    .expect("a widget")
}

pub(crate) fn resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("test.braid.dev", "v1", "Widget"), "widgets")
}

pub(crate) fn widgets(client: kube::Client) -> kube::Api<DynamicObject> {
    kube::Api::default_namespaced_with(client, &resource())
}
