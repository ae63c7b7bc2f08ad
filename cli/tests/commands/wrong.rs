//! Wrong files and wrong usage: exit code 2, and a text that helps.

use crate::harness::{Home, NUMBER};

#[test]
fn problems_have_a_place_and_nothing_is_run() {
    let home = Home::new();
    let good = home.numbers("wrong", 3, NUMBER);
    let text = std::fs::read_to_string(good).unwrap();
    let file = home.write("wrong.yaml", &text.replace("reduce: Sum", "reduce: Summe"));
    let file = file.to_str().unwrap();
    let run = home.braid(&["run", file]).exits(2);
    assert!(run.err.contains("wrong.yaml:12:"), "{}", run.err);
    assert_eq!("", run.out);
    assert!(!home.path("state").exists());
    let lint = home.braid(&["lint", file]).exits(2);
    assert!(lint.out.contains("wrong.yaml:12:"), "{}", lint.out);
    let listed = home.braid(&["lint", file, "-o", "json"]).exits(2).json();
    assert_eq!(12, listed[0]["line"]);
}

#[test]
fn usage_is_told() {
    let home = Home::new();
    let file = home.numbers("fine", 3, NUMBER);
    let file = file.to_str().unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let two = home.write("two.yaml", &format!("{text}---\n{text}"));
    for (words, told) in [
        (vec!["run", file, "-p", "factro=2"], "did you mean \"factor\"?"),
        (vec!["run", file, "-p", "factor=x"], "must be an integer"),
        (vec!["run", file, "--workers", "0"], "--workers"),
        (vec!["run", file, "--resume"], "no unfinished run of fine"),
        (vec!["run", "nowhere.yaml"], "nowhere.yaml"),
        (vec!["run", two.to_str().unwrap()], "a run is of one"),
        (vec!["get", "nobody"], "no run of \"nobody\""),
        (vec!["get", "--state", "nowhere"], "no run in nowhere"),
        (vec!["watch"], "<NAME>"),
        (vec!["get", "x", "--local", "-n", "team"], "cannot be used with"),
        (vec!["shim"], "shim"),
    ] {
        let said = home.braid(&words).exits(2);
        assert!(said.err.contains(told), "{words:?}: {}", said.err);
        assert_eq!("", said.out);
    }
    let said = home.command(&["ls"]).env("BRAID_LOG", "=,=").output().unwrap();
    assert_eq!(Some(2), said.status.code());
}

#[test]
fn what_is_fine_is_quiet() {
    let home = Home::new();
    let file = home.numbers("fine", 3, NUMBER);
    let said = home.braid(&["lint", file.to_str().unwrap()]).exits(0);
    assert_eq!(("", ""), (said.out.as_str(), said.err.as_str()));
    assert!(home.braid(&["version"]).exits(0).out.starts_with("braid "));
    assert!(home.braid(&["completion", "bash"]).exits(0).out.contains("_braid"));
    assert!(home.braid(&["ls"]).exits(0).out.contains("no runs"));
}
