//! Whether a step can run in the pods of a standing pool: what the step asks of its pod must be what the pool's pods are.
//!
//! A step that asks for nothing fits into any pod. What it asks for is compared with the pool's own words for it, and with those of the
//! container `main` of its template; nothing is weighed or rounded, so the answer is easily foreseen.

use std::fmt;

use braid_crds::PodClass;
use serde_json::Value;

/// The container of user code.
const MAIN: &str = "main";
/// Sources of variables that are of the pod itself.
const OF_THE_POD: [&str; 3] = ["fieldRef", "resourceFieldRef", "fileKeyRef"];
/// Characters of a value that a message shows.
const SHOWN: usize = 80;

/// What a step asks for and the pool's pods are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field, as the step has it.
    pub field: String,
    /// What is asked for.
    pub asked: String,
    /// What there is; `None`: nothing.
    pub found: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it asks for {} {}, and its pods have ", self.field, self.asked)?;
        match &self.found {
            Some(found) => f.write_str(found),
            None => f.write_str("none"),
        }
    }
}

/// The first thing that keeps a step from a pool; `None`: it fits.
#[must_use]
pub fn difference(asked: &PodClass, pods: &PodClass) -> Option<Difference> {
    let main = |field: &str| {
        let containers = pods.template.as_ref()?.get("spec")?.get("containers")?.as_array()?;
        let main = containers
            .iter()
            .find(|container| container.get("name") == Some(&Value::from(MAIN)));
        main?.get(field)
    };
    let image = pods.image.as_deref().or_else(|| main("image")?.as_str());
    if asked.image.is_some() && asked.image.as_deref() != image {
        let asked = asked.image.as_deref().unwrap_or_default();
        return Some(Difference::new("image", &asked.into(), image.map(Value::from).as_ref()));
    }
    if let Some(code) = &asked.code
        && asked.code != pods.code
    {
        let found = pods.code.as_ref().map(|code| Value::from(code.name.as_str()));
        return Some(Difference::new("code", &code.name.as_str().into(), found.as_ref()));
    }
    for (field, asked, own) in [
        ("resources", &asked.resources, &pods.resources),
        ("securityContext", &asked.security_context, &pods.security_context),
    ] {
        let found = own.as_ref().or_else(|| main(field));
        if let Some(asked) = asked
            && found != Some(asked)
        {
            return Some(Difference::new(field, asked, found));
        }
    }
    for (field, asked, own, key) in [
        ("env", &asked.env, &pods.env, "name"),
        ("envFrom", &asked.env_from, &pods.env_from, ""),
        ("volumeMounts", &asked.volume_mounts, &pods.volume_mounts, "mountPath"),
    ] {
        let found = || {
            own.iter()
                .chain(main(field).and_then(Value::as_array).into_iter().flatten())
        };
        if let Some(missing) = asked.iter().find(|asked| !found().any(|there| there == *asked)) {
            let like = found().find(|there| !key.is_empty() && there.get(key) == missing.get(key));
            return Some(Difference::new(field, missing, like));
        }
    }
    let there = |data: &braid_crds::DataVolume| {
        let fits = |there: &braid_crds::DataVolume| {
            there.name == data.name && there.volume == data.volume && (there.writable || !data.writable)
        };
        pods.data.iter().any(fits)
    };
    let missing = asked.data.iter().find(|data| !there(data))?;
    let volume = |data: &braid_crds::DataVolume| {
        let mut volume = serde_json::to_value(&data.volume).unwrap_or_default();
        if let (true, Some(fields)) = (data.writable, volume.as_object_mut()) {
            fields.insert("writable".into(), true.into());
        }
        volume
    };
    let like = pods.data.iter().find(|there| there.name == missing.name).map(volume);
    let field = format!("the volume of data {}", missing.name);
    Some(Difference::new(&field, &volume(missing), like.as_ref()))
}

/// The first thing that a step asks for by the name of an object of its own namespace; `None`: nothing. Pods of another namespace cannot have
/// it, and what has the same name there is something else.
#[must_use]
pub fn bound(asked: &PodClass) -> Option<Bound> {
    if let Some(code) = &asked.code {
        return Some(Bound::new("code.configMapRef", &code.name.as_str().into()));
    }
    let is_of_the_pod = |variable: &&Value| {
        let source = variable.get("valueFrom").and_then(Value::as_object);
        source.is_some_and(|source| source.keys().all(|key| OF_THE_POD.contains(&key.as_str())))
    };
    if let Some(variable) = asked.env.iter().find(|variable| !is_of_the_pod(variable)) {
        return Some(Bound::new("env", variable));
    }
    if let Some(source) = asked.env_from.first() {
        return Some(Bound::new("envFrom", source));
    }
    let data = asked.data.iter().find(|data| data.volume.host_path.is_none())?;
    let volume = serde_json::to_value(&data.volume).unwrap_or_default();
    Some(Bound::new(&format!("the volume of data {}", data.name), &volume))
}

/// What a step asks for, which names an object of its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The field, as the step has it.
    pub field: String,
    /// What is asked for.
    pub asked: String,
}

impl Bound {
    fn new(field: &str, asked: &Value) -> Self {
        Self {
            field: field.to_owned(),
            asked: shown(asked),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.asked)
    }
}

impl Difference {
    fn new(field: &str, asked: &Value, found: Option<&Value>) -> Self {
        Self {
            field: field.to_owned(),
            asked: shown(asked),
            found: found.map(shown),
        }
    }
}

fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn class(value: Value) -> PodClass {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn tables() {
        let pods = class(json!({
            "image": "python:3.13",
            "resources": {"limits": {"memory": "1Gi"}},
            "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "a", "key": "k"}}}],
            "envFrom": [{"configMapRef": {"name": "common"}}],
            "data": [{"name": "texts", "volume": {"persistentVolumeClaim": {"claimName": "texts"}}}],
            "template": {"spec": {"containers": [{"name": "side", "image": "side:1"}, {
                "name": "main", "image": "hidden:1", "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
                "securityContext": {"runAsUser": 7},
            }]}},
        }));
        let fits = [
            json!({}),
            json!({"image": "python:3.13"}),
            json!({"resources": {"limits": {"memory": "1Gi"}}, "securityContext": {"runAsUser": 7}}),
            json!({"envFrom": [{"configMapRef": {"name": "common"}}], "volumeMounts": [{"name": "cache", "mountPath": "/cache"}]}),
            json!({"data": [{"name": "texts", "volume": {"persistentVolumeClaim": {"claimName": "texts"}}}]}),
        ];
        for asked in fits {
            assert_eq!(difference(&class(asked.clone()), &pods), None, "{asked}");
        }
        let differs = [
            (
                json!({"image": "hidden:1"}),
                "image hidden:1, and its pods have python:3.13",
            ),
            (
                json!({"resources": {"limits": {"memory": "2Gi"}}}),
                r#"resources {"limits":{"memory":"2Gi"}}, and its pods have {"limits":{"memory":"1Gi"}}"#,
            ),
            (
                json!({"env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "b", "key": "k"}}}]}),
                r#"and its pods have {"name":"TOKEN""#,
            ),
            (json!({"envFrom": [{"secretRef": {"name": "x"}}]}), "envFrom"),
            (
                json!({"code": {"name": "words-1"}}),
                "code words-1, and its pods have none",
            ),
            (
                json!({"volumeMounts": [{"name": "cache", "mountPath": "/other"}]}),
                "have none",
            ),
            (
                json!({"data": [{"name": "texts", "volume": {"hostPath": {"path": "/x"}}}]}),
                "the volume of data texts",
            ),
            (
                json!({"data": [{"name": "more", "volume": {"hostPath": {"path": "/x"}}}]}),
                "have none",
            ),
        ];
        for (asked, words) in differs {
            let told = difference(&class(asked.clone()), &pods).unwrap().to_string();
            assert!(told.contains(words), "{asked}: {told}");
        }
        let bare = class(json!({}));
        assert!(difference(&class(json!({"image": "a"})), &bare).is_some());
        let of_template = class(json!({"template": {"spec": {"containers": [{"name": "main", "image": "a"}]}}}));
        assert_eq!(difference(&class(json!({"image": "a"})), &of_template), None);
    }

    #[test]
    fn names_of_objects_are_bound_to_a_namespace() {
        let free = [
            json!({}),
            json!({"image": "a", "resources": {"limits": {"memory": "1Gi"}}, "securityContext": {"runAsUser": 7}}),
            json!({"volumeMounts": [{"name": "cache", "mountPath": "/cache"}]}),
            json!({"env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]}),
            json!({"data": [{"name": "texts", "volume": {"hostPath": {"path": "/x"}}}]}),
        ];
        for asked in free {
            assert_eq!(bound(&class(asked.clone())), None, "{asked}");
        }
        let secret = json!({"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "crm", "key": "token"}}});
        let node = json!({"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}});
        let disk = json!({"hostPath": {"path": "/x"}});
        let claim = json!({"persistentVolumeClaim": {"claimName": "b"}});
        let named = [
            (json!({"code": {"name": "words-1"}}), "code.configMapRef words-1"),
            (json!({"env": [node, secret]}), "env {\"name\":\"TOKEN\""),
            (
                json!({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}]}),
                "env {\"name\":\"A\"",
            ),
            // What is not known yet is not known to be of the pod.
            (
                json!({"env": [{"name": "A", "valueFrom": {"newKeyRef": {"name": "a"}}}]}),
                "env ",
            ),
            (json!({"env": [{"name": "A"}]}), "env "),
            (
                json!({"envFrom": [{"secretRef": {"name": "x"}}]}),
                "envFrom {\"secretRef\"",
            ),
            (
                json!({"data": [{"name": "a", "volume": disk}, {"name": "b", "volume": claim}]}),
                "the volume of data b {",
            ),
            (
                json!({"data": [{"name": "b", "volume": {"configMap": {"name": "b"}}}]}),
                "the volume of data b {",
            ),
        ];
        for (asked, words) in named {
            let told = bound(&class(asked.clone())).unwrap().to_string();
            assert!(told.contains(words), "{asked}: {told}");
        }
    }
}
