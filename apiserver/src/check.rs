//! The server's checks without a server: for tools that tell people what is wrong before anything is sent.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::error::BuildError;
use crate::object;
use crate::path::Path;
use crate::resource::{Registry, Resource, Shape};
use crate::schema::{Schema, object_meta};
use crate::status::Cause;
use crate::verbs::{RULES_UNCHECKED, causes};

/// Compiled definitions that objects can be checked against.
pub struct Definitions {
    registry: Registry,
}

/// One reason why the server would refuse to create an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The field, as in `spec.shards[0].id`; empty: the object as a whole.
    pub path: String,
    /// The server's message.
    pub message: String,
    /// For a field that is not in the schema: the fields that are.
    pub known_fields: Option<Vec<String>>,
}

impl Definitions {
    /// Compiles schemas and rules.
    pub fn new(crds: &[CustomResourceDefinition]) -> Result<Self, BuildError> {
        Ok(Self {
            registry: Registry::new(crds)?,
        })
    }

    /// The kinds of the definitions, with their `apiVersion`.
    pub fn kinds(&self) -> impl Iterator<Item = (String, &str)> {
        self.custom()
            .map(|resource| (resource.api_version(), resource.kind.as_str()))
    }

    fn custom(&self) -> impl Iterator<Item = &Resource> {
        let custom = |resource: &&Resource| matches!(resource.shape, Shape::Custom(_));
        self.registry.iter().filter(custom)
    }

    /// Why the server would refuse to create this object with `fieldValidation=Strict`, all of it at once; `None` if no definition has its
    /// `apiVersion` and `kind`. A missing namespace is no reason: clients add it.
    pub fn check(&self, object: &Value) -> Option<Vec<Refusal>> {
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let (kind, api_version) = (text("kind"), text("apiVersion"));
        let resource = self
            .custom()
            .find(|resource| resource.kind == kind && resource.api_version() == api_version)?;
        let Shape::Custom(schema) = &resource.shape else {
            return None;
        };
        let mut object = object.clone();
        place(&mut object);
        let mut refusals = Vec::new();
        let mut unknown = Vec::new();
        if let Err(error) = object::shape_metadata(&mut object, &mut unknown) {
            refusals.push(Refusal {
                path: "metadata".to_owned(),
                message: error.to_string(),
                known_fields: None,
            });
        }
        schema.prune(&mut object, &mut Path::default(), &mut unknown);
        refusals.extend(unknown.into_iter().map(|path| Refusal {
            message: "unknown field".to_owned(),
            known_fields: Some(fields_beside(schema, &path)),
            path,
        }));
        schema.drop_nulls(&mut object);
        schema.apply_defaults(&mut object);
        let causes = causes(resource, &object, None);
        let choices: Vec<(String, String)> = causes.iter().filter_map(|cause| choice(schema, cause)).collect();
        refusals.extend(
            causes
                .into_iter()
                .filter(|cause| cause.message != RULES_UNCHECKED && choice(schema, cause).is_none())
                // What one branch of a choice lacks is not missing as such.
                .filter(|cause| {
                    cause.message != REQUIRED || !choices.iter().any(|(path, _)| is_field_of(&cause.field, path))
                })
                .map(|cause| Refusal {
                    path: if cause.field == "<nil>" {
                        String::new()
                    } else {
                        cause.field
                    },
                    message: cause.message,
                    known_fields: None,
                }),
        );
        refusals.extend(choices.into_iter().map(|(path, message)| Refusal {
            path,
            message,
            known_fields: None,
        }));
        Some(refusals)
    }
}

/// The message of a field that must be there.
const REQUIRED: &str = "Required value";

fn is_field_of(field: &str, object: &str) -> bool {
    field.rsplit_once('.').is_some_and(|(parent, _)| parent == object)
}

/// For a choice that failed: the object's path, which the server has in the message alone, and which fields it is between, which
/// the server does not say.
fn choice(root: &Schema, cause: &Cause) -> Option<(String, String)> {
    let (path, what) = cause
        .message
        .strip_prefix("Invalid value: \"\": \"")?
        .split_once("\" ")?;
    let schema = schema_at(root, path)?;
    let (branches, wanted) = if what.contains("(oneOf)") {
        (&schema.one_of, "exactly one of")
    } else {
        (&schema.any_of, "at least one of")
    };
    let fields: Vec<&str> = branches
        .iter()
        .flat_map(|branch| branch.required.iter().map(String::as_str))
        .collect();
    let message = if fields.is_empty() {
        what.to_owned()
    } else {
        format!("needs {wanted} {}", fields.join(", "))
    };
    Some((path.to_owned(), message))
}

/// What a client and the server add before the checks: a namespace, and the name where one is to be generated.
fn place(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    metadata.entry("namespace").or_insert_with(|| json!("default"));
    let base = metadata
        .get("generateName")
        .and_then(Value::as_str)
        .map(object::generate_name);
    if let (Some(name), false) = (base, metadata.contains_key("name")) {
        metadata.insert("name".to_owned(), Value::String(name));
    }
}

/// The fields that the schema has where the field at `path` stands.
fn fields_beside(root: &Schema, path: &str) -> Vec<String> {
    let (above, _) = path.rsplit_once('.').unwrap_or(("", path));
    schema_at(root, above)
        .map(|schema| schema.properties.keys().cloned().collect())
        .unwrap_or_default()
}

/// The schema of what is at `path`, as in `spec.steps[0].over`.
fn schema_at<'a>(root: &'a Schema, path: &str) -> Option<&'a Schema> {
    let mut schema = if path.starts_with("metadata") {
        object_meta()
    } else {
        root
    };
    for part in path.split('.').filter(|part| !part.is_empty() && *part != "metadata") {
        let mut indexes = part.split('[');
        schema = schema.field(indexes.next().unwrap_or_default())?;
        for _ in indexes {
            schema = schema.items.as_deref()?;
        }
    }
    Some(schema)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn definitions() -> Definitions {
        let crd = json!({
            "metadata": {"name": "things.example.org"},
            "spec": {
                "group": "example.org", "scope": "Namespaced",
                "names": {"kind": "Thing", "plural": "things", "singular": "thing"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "required": ["spec"],
                    "properties": {"spec": {"type": "object", "properties": {
                        "pick": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                            "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
                        "parts": {"type": "array", "maxItems": 3, "items": {"type": "object", "properties": {
                            "size": {"type": "integer", "minimum": 1},
                            "count": {"type": "integer"}
                        }, "x-kubernetes-validations": [{"rule": "!has(self.size) || self.size < 9", "message": "too big"}]}}
                    }}}
                }}}]
            }
        });
        Definitions::new(&[serde_json::from_value(crd).unwrap()]).unwrap()
    }

    fn check(spec: &Value) -> Vec<Refusal> {
        let object = json!({"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec});
        definitions().check(&object).unwrap()
    }

    #[test]
    fn tells_all_at_once() {
        assert_eq!(Vec::<Refusal>::new(), check(&json!({"parts": [{"size": 1}]})));
        let refusals = check(&json!({"parts": [{"sise": 1, "size": 9}, {"size": 0}]}));
        let told: Vec<(&str, &str)> = refusals.iter().map(|r| (r.path.as_str(), r.message.as_str())).collect();
        assert_eq!(("spec.parts[0].sise", "unknown field"), told[0]);
        assert_eq!(
            Some(vec!["count".to_owned(), "size".to_owned()]),
            refusals[0].known_fields
        );
        assert!(
            told.iter()
                .any(|(path, message)| *path == "spec.parts[1].size" && message.contains("greater than"))
        );
        assert!(
            told.iter()
                .any(|(path, message)| *path == "spec.parts[0]" && message.contains("too big")),
            "{told:?}"
        );
    }

    #[test]
    fn choices_are_told_at_their_place() {
        let told = |spec: Value| -> Vec<(String, String)> {
            check(&spec)
                .into_iter()
                .map(|refusal| (refusal.path, refusal.message))
                .collect()
        };
        let wanted = vec![("spec.pick".to_owned(), "needs exactly one of a, b".to_owned())];
        assert_eq!(told(json!({"pick": {}})), wanted);
        assert_eq!(told(json!({"pick": {"a": 1, "b": 1}})), wanted);
        assert_eq!(told(json!({"pick": {"a": 1}})), Vec::new());
    }

    #[test]
    fn names_and_kinds() {
        assert_eq!(
            vec![("example.org/v1".to_owned(), "Thing")],
            definitions().kinds().collect::<Vec<_>>()
        );
        let object = json!({"apiVersion": "example.org/v2", "kind": "Thing"});
        assert_eq!(None, definitions().check(&object));
        let generated =
            json!({"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"generateName": "a-"}, "spec": {}});
        assert_eq!(Some(Vec::new()), definitions().check(&generated));
        let refusals = definitions().check(&json!({
            "apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"nmae": "a"}, "spec": {}
        }));
        let paths: Vec<String> = refusals.unwrap().into_iter().map(|refusal| refusal.path).collect();
        assert_eq!(vec!["metadata.nmae", "metadata.name"], paths);
    }
}
