//! What the charts render, kept in `golden/` so that a change of them shows in review.
//!
//! `BRAID_UPDATE_GOLDEN=1 cargo test -p braid-cluster --features real --test chart golden` writes them. The definitions are left out
//! of the files: they are compared with those that the code has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};

use crate::helm::{
    NAMESPACE, RENDERS, helm, here, kind, name, objects, printed, render, repository, template, told_to_the_hub, values,
};

const UPDATE: &str = "BRAID_UPDATE_GOLDEN";

/// The documents but for the definitions, each with the comment that says where it is from.
fn without_definitions(text: &str) -> String {
    let documents = text.split("---\n").filter(|document| !document.trim().is_empty());
    let is_definition = |document: &&str| document.contains("\nkind: CustomResourceDefinition\n");
    let kept = documents.filter(|document| !is_definition(document));
    let kept: Vec<&str> = kept.map(str::trim_end).collect();
    format!("---\n{}\n", kept.join("\n---\n"))
}

#[test]
fn renders_are_as_they_were() {
    for render in RENDERS {
        let now = without_definitions(&printed(template().args(values(render))));
        let file = here(&format!("golden/{render}.yaml"));
        if std::env::var_os(UPDATE).is_some() {
            fs::write(&file, &now).unwrap();
        }
        let kept = fs::read_to_string(&file).unwrap_or_default();
        if let Some((number, (was, is))) = (1..)
            .zip(kept.lines().zip(now.lines()))
            .find(|(_, (was, is))| was != is)
        {
            panic!(
                "{} differs in line {number}: {was:?} is now {is:?}; {UPDATE}=1 writes it",
                file.display()
            );
        }
        assert_eq!(
            kept,
            now,
            "{} is shorter or longer; {UPDATE}=1 writes it",
            file.display()
        );
    }
    let kept: BTreeSet<String> = fs::read_dir(here("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(kept, RENDERS.iter().map(|render| format!("{render}.yaml")).collect());
}

#[test]
fn lint_has_nothing_to_say() {
    for chart in ["charts/braid", "charts/braid-crds"] {
        for name in if chart == "charts/braid" {
            &RENDERS[..]
        } else {
            &["default"]
        } {
            let told = printed(
                helm()
                    .arg("lint")
                    .arg("--strict")
                    .arg(repository(chart))
                    .args(values(name)),
            );
            assert!(
                !told.contains("[WARNING]") && !told.contains("[ERROR]"),
                "{chart}: {told}"
            );
        }
    }
}

/// The definitions as code has them, by name.
fn definitions() -> BTreeMap<String, Value> {
    let definitions = braid_crds::definitions().into_iter();
    definitions
        .map(|definition| {
            (
                definition.metadata.name.clone().unwrap(),
                serde_json::to_value(definition).unwrap(),
            )
        })
        .collect()
}

/// Numbers are compared as numbers: 10000 and 10000.0 are the same to a schema.
fn numbers(value: &mut Value) {
    match value {
        Value::Number(number) => *value = json!(number.as_f64()),
        Value::Array(items) => items.iter_mut().for_each(numbers),
        Value::Object(fields) => fields.values_mut().for_each(numbers),
        _ => {}
    }
}

/// Takes what a chart adds, and says whether the definition is kept.
fn is_kept(definition: &mut Value) -> bool {
    let metadata = definition["metadata"].as_object_mut().unwrap();
    metadata.remove("labels").expect("a chart labels what it installs");
    let mut annotations = metadata.remove("annotations").unwrap_or_default();
    let mut kept = false;
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.remove("example.com/owner");
        kept = annotations.remove("helm.sh/resource-policy") == Some(json!("keep"));
        if !annotations.is_empty() {
            metadata.insert("annotations".to_owned(), json!(annotations));
        }
    }
    kept
}

#[test]
fn definitions_are_those_of_the_code() {
    let crds = |more: &[&str]| {
        objects(&printed(
            helm()
                .args(["template", "x"])
                .arg(repository("charts/braid-crds"))
                .args(more),
        ))
    };
    for (what, rendered, keep) in [
        ("default", render("default"), true),
        ("full", render("full"), false),
        ("braid-crds", crds(&[]), true),
        ("braid-crds, not kept", crds(&["--set", "keep=false"]), false),
    ] {
        let mut found = BTreeMap::new();
        for mut object in rendered {
            if kind(&object) == "CustomResourceDefinition" {
                assert_eq!(keep, is_kept(&mut object), "{what}: {}", name(&object));
                numbers(&mut object);
                found.insert(name(&object).to_owned(), object);
            }
        }
        let mut wanted = definitions();
        wanted.values_mut().for_each(numbers);
        assert_eq!(wanted, found, "{what}");
    }
    let namespaced = render("namespaced");
    assert!(
        namespaced
            .iter()
            .all(|object| kind(object) != "CustomResourceDefinition")
    );
}

#[test]
fn versions_are_the_workspace_s() {
    for chart in ["braid", "braid-crds"] {
        let text = fs::read_to_string(repository(&format!("charts/{chart}/Chart.yaml"))).unwrap();
        let chart: Value = serde_saphyr::from_str(&text).unwrap();
        for field in ["version", "appVersion"] {
            assert_eq!(chart[field], env!("CARGO_PKG_VERSION"), "{field} of {}", chart["name"]);
        }
    }
}

/// What the hub shows of images and kinds is what is installed.
#[test]
fn the_hub_is_told_the_truth() {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let told: BTreeSet<String> = told_to_the_hub("images").iter().map(|it| text(&it["image"])).collect();
    let mut used = BTreeSet::new();
    for object in render("default") {
        let spec = if kind(&object) == "Pod" {
            &object["spec"]
        } else {
            &object["spec"]["template"]["spec"]
        };
        for list in ["initContainers", "containers"] {
            used.extend(spec[list].as_array().into_iter().flatten().map(|it| text(&it["image"])));
        }
    }
    assert_eq!(told, used);
    let told: BTreeSet<String> = told_to_the_hub("crds")
        .iter()
        .map(|it| format!("{} {} {}", it["kind"], it["name"], it["version"]))
        .collect();
    let served = definitions().into_iter().map(|(name, it)| {
        format!(
            "{} \"{name}\" {}",
            it["spec"]["names"]["kind"], it["spec"]["versions"][0]["name"]
        )
    });
    assert_eq!(told, served.collect());
}

/// Two releases must be able to live in one cluster.
#[test]
fn names_carry_the_release() {
    let mut other = helm();
    other.args(["template", "other"]).arg(repository("charts/braid")).args([
        "--namespace",
        "elsewhere",
        "--set",
        "crds.install=false",
    ]);
    let cluster_wide = |objects: &[Value]| -> BTreeSet<String> {
        let of_cluster = objects
            .iter()
            .filter(|object| object["metadata"]["namespace"].is_null());
        of_cluster
            .map(|object| format!("{} {}", kind(object), name(object)))
            .collect()
    };
    let (ours, theirs) = (render("namespaced"), objects(&printed(&mut other)));
    assert!(cluster_wide(&ours).len() > 5);
    assert_eq!(
        BTreeSet::new(),
        cluster_wide(&ours)
            .intersection(&cluster_wide(&theirs))
            .collect::<BTreeSet<_>>()
    );
    let text = serde_json::to_string(&theirs).unwrap();
    assert!(text.contains("system:serviceaccount:elsewhere:other-braid-operator"));
    assert!(!text.contains(NAMESPACE), "another release's namespace is written down");
}

/// What nobody but the operator and workers may do.
#[test]
fn people_write_workflows_and_pools_and_nothing_else() {
    let reading = ["get", "list", "watch"];
    for render_name in RENDERS {
        for role in render(render_name) {
            let labels = role["metadata"]["labels"].as_object();
            let aggregated = labels.is_some_and(|labels| labels.keys().any(|label| label.contains("/aggregate-to-")));
            if kind(&role) != "ClusterRole" || !aggregated {
                continue;
            }
            for rule in role["rules"].as_array().unwrap() {
                let of = |field: &str| -> Vec<String> {
                    let items = rule[field].as_array().unwrap().iter();
                    items.map(|item| item.as_str().unwrap().to_owned()).collect()
                };
                let writes = of("verbs").iter().any(|verb| !reading.contains(&verb.as_str()));
                for resource in of("resources") {
                    assert!(
                        (!resource.contains('/') || resource == "workerpools/scale") && resource != "*",
                        "{}: {resource}",
                        name(&role)
                    );
                    let theirs = ["workflows", "workerpools", "workerpools/scale"];
                    assert!(
                        !writes || theirs.contains(&resource.as_str()),
                        "{}: writes {resource}",
                        name(&role)
                    );
                }
            }
        }
    }
}
