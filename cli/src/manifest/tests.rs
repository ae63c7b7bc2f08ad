#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::json;

use super::*;

fn at(line: usize, column: usize) -> Place {
    Place { line, column }
}

#[test]
fn values_have_places() {
    let text = "# one\na: 1\nb:\n  - x: yes\n    y: 'é'\n  - [2, {z: null}]\nc: |\n  text\n---\n---\nd: 1.5\n";
    let documents = parse(text).unwrap();
    assert_eq!(2, documents.len());
    assert_eq!(
        json!({"a": 1, "b": [{"x": "yes", "y": "é"}, [2, {"z": null}]], "c": "text\n"}),
        documents[0].to_json()
    );
    for (path, place) in [
        ("a", at(2, 4)),
        ("b", at(4, 3)),
        ("b[0]", at(4, 5)),
        ("b[0].y", at(5, 8)),
        ("b[1][1].z", at(6, 13)),
        ("c", at(8, 3)),
    ] {
        let found = documents[0].find(path);
        assert_eq!((place, true), (found.node.place, found.whole), "{path}");
    }
    assert_eq!(Some(at(5, 5)), documents[0].find("b[0].y").name);
    let found = documents[0].find("b[0].no.such");
    assert_eq!((at(4, 5), false), (found.node.place, found.whole));
    assert_eq!(at(11, 4), documents[1].find("d").node.place);
}

#[test]
fn json_is_yaml() {
    let documents = parse("{\"a\": [1, 2],\n \"b\": \"x\\u00e9\"}").unwrap();
    assert_eq!(json!({"a": [1, 2], "b": "xé"}), documents[0].to_json());
    assert_eq!(at(2, 7), documents[0].find("b").node.place);
}

#[test]
fn says_what_and_where() {
    for (text, place, what) in [
        ("a: 1\na: 2\n", at(2, 1), "twice"),
        ("a: [1, 2\nb: 3\n", at(2, 2), ""),
        ("a: *x\n", at(1, 4), "anchor"),
        ("a: !!foo 1\n", at(1, 10), "tag"),
        ("a: .nan\n", at(1, 4), ""),
        ("a:\n\tb: 1\n", at(2, 2), ""),
    ] {
        let error = parse(text).unwrap_err();
        let message = error.to_string().to_lowercase();
        assert!(message.contains(what), "{text:?}: {message}");
        assert_eq!(place, error.place(), "{text:?}: {message}");
    }
    let error = decode(b"a: 1\nb: \xff".to_vec()).unwrap_err();
    assert!(matches!(error, ManifestError::NotUtf8 { offset: 8, .. }), "{error}");
    assert_eq!(at(2, 4), error.place());
    let error = decode(b"a: x\0".to_vec()).unwrap_err();
    assert_eq!(
        (
            at(1, 5),
            "there is a control character (U+0000): this is not a text file".to_owned()
        ),
        (error.place(), error.to_string())
    );
}

#[test]
fn params_are_set_by_type() {
    let mut workflow: braid_crds::Workflow = serde_json::from_value(json!({
        "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "w"},
        "spec": {"params": [{"name": "year", "type": "Integer", "default": 1}, {"name": "name", "type": "String"}, {"name": "list", "type": "List"}],
                 "steps": [{"name": "a", "run": {"command": ["true"]}}]}
    }))
    .unwrap();
    override_params(&mut workflow, ["year=2013", "name=2013", "list=[1]"]).unwrap();
    let values: Vec<_> = workflow
        .spec
        .params
        .iter()
        .map(|param| param.value.clone().unwrap())
        .collect();
    assert_eq!(json!([2013, "2013", [1]]), json!(values));
    for (given, message) in [
        (
            vec!["yaer=1"],
            "-p yaer: the workflow has no param \"yaer\"; did you mean \"year\"?",
        ),
        (vec!["year"], "-p year: write -p NAME=VALUE"),
        (vec!["year=1", "year=2"], "-p year: given twice"),
        (vec!["list={}"], "-p param \"list\" must be a list, and {} is an object"),
    ] {
        assert_eq!(message, override_params(&mut workflow, given).unwrap_err().to_string());
    }
}
