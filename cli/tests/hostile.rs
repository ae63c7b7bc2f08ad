//! Manifests that are made to hurt: each is refused, with an error, by a process that may use little memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

/// Address space of the child: the binary, its threads' stacks, and what reading a manifest of the largest size takes.
const MEMORY_KB: usize = 768 * 1024;
/// Processor time of the child, far above what any of them takes: it ends what would never end.
const SECONDS: usize = 60;

const HEAD: &str = "apiVersion: braid.dev/v1alpha1\nkind: Workflow\nmetadata: {name: hostile}\nspec:\n";
const STEP: &str = "  steps:\n    - name: one\n      run: {command: [\"true\"]}\n";

/// What `braid lint -` says of a text. It must end by itself with exit code 2.
fn lint(what: &str, chunks: impl IntoIterator<Item = Vec<u8>>) -> String {
    let limits = format!("ulimit -v {MEMORY_KB} && ulimit -t {SECONDS} && exec \"$0\" lint -");
    let mut child = Command::new("sh")
        .args(["-c", &limits, env!("CARGO_BIN_EXE_braid")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for chunk in chunks {
        // It may stop reading before the end.
        if stdin.write_all(&chunk).is_err() {
            break;
        }
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let cried = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(Some(2), output.status.code(), "{what}: {said}{cried}");
    assert_eq!("", cried, "{what}");
    assert!(said.len() < 64 * 1024, "{what}: {} bytes of answer", said.len());
    said
}

fn refused(what: &str, text: impl Into<Vec<u8>>, because: &str) {
    let said = lint(what, [text.into()]);
    assert!(said.contains(because), "{what}: {said}");
}

#[test]
fn huge() {
    let said = lint("100 MB", (0..100).map(|_| vec![b'#'; 1 << 20]));
    assert!(said.contains("at most 4 MiB"), "{said}");
    let steps = "    - {name: one, run: {command: [\"true\"]}}\n".repeat(1_000_000);
    refused("a million steps", format!("{HEAD}  steps:\n{steps}"), "at most 4 MiB");
    let steps = "    - {name: a}\n".repeat(260_000);
    refused(
        "260,000 steps",
        format!("{HEAD}  steps:\n{steps}"),
        "more than 150000 values",
    );
    let steps = "    - {name: a}\n".repeat(40_000);
    refused(
        "40,000 steps",
        format!("{HEAD}  steps:\n{steps}"),
        "must have at most 64 items",
    );
    let script = "x".repeat(4_000_000);
    refused(
        "a script of 4 MB",
        format!("{HEAD}  steps:\n    - {{name: one, run: {{script: {script}}}}}\n"),
        "Too long",
    );
    let items = "0,".repeat(140_000);
    refused(
        "140,000 items",
        format!("{HEAD}{STEP}      over: {{items: [{items}0]}}\n"),
        "must have at most 10000 items",
    );
    // What stands before each of many values is not read again for each.
    let (ones, eights) = ("1,".repeat(9_000), "010,".repeat(9_000));
    let blank = "\n".repeat(3_000_000);
    refused(
        "items behind many lines",
        format!("{HEAD}{STEP}      over:\n        items:\n{blank}          [{ones}{eights}0]\n"),
        "must have at most 10000 items",
    );
    let spaces = " ".repeat(3_000_000);
    refused(
        "items behind many spaces",
        format!("{HEAD}{STEP}      over:\n        items:\n{spaces}[{ones}{eights}0]\n"),
        "must have at most 10000 items",
    );
    refused("many documents", "---\na: 1\n".repeat(1_000), "more than 64 documents");
}

#[test]
fn deep() {
    let deep = "more than 64 lists and maps in one another";
    refused("100,000 flow lists", "[".repeat(100_000), "");
    refused(
        "100,000 closed flow lists",
        "[".repeat(100_000) + &"]".repeat(100_000),
        "",
    );
    refused("100,000 flow maps", "{a: ".repeat(100_000), "");
    refused("100,000 block lists", "- ".repeat(100_000), deep);
    let block: Vec<String> = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    refused("2,000 block maps", block.concat(), deep);
    refused(
        "JSON",
        format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)),
        "",
    );
}

#[test]
fn bombs() {
    let mut laughs = vec!["a: &a [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n".to_owned()];
    for (name, before) in "bcdefghij".chars().zip("abcdefghi".chars()) {
        let nine = vec![format!("*{before}"); 9].join(", ");
        laughs.push(format!("{name}: &{name} [{nine}]\n"));
    }
    refused("a billion laughs", laughs.concat(), "aliases");
    let mut text = String::from("a: &a \"");
    text.push_str(&"x".repeat(1 << 20));
    text.push_str("\"\nb: [");
    text.push_str(&"*a, ".repeat(900));
    text.push_str("1]\n");
    refused("900 times a megabyte", text, "");
    refused("an alias of itself", "a: &a [*a]\n", "");
    let merges: Vec<String> = (0..500).map(|n| format!("m{n}: {{<<: *a}}\n")).collect();
    refused("merge keys", format!("a: &a {{x: 1}}\n{}", merges.concat()), "");
    let anchors: Vec<String> = (0..10_000).map(|n| format!("k{n}: &a{n} 1\n")).collect();
    refused("anchors", anchors.concat(), "anchors");
}

#[test]
fn no_text() {
    refused(
        "bad UTF-8",
        b"apiVersion: braid.dev/v1alpha1\nkind: \xc3\x28\n".to_vec(),
        "1:2:7: byte 37 is not UTF-8".trim_start_matches("1:"),
    );
    refused(
        "UTF-16",
        "apiVersion: x"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>(),
        "U+0000",
    );
    refused(
        "NUL",
        format!("{HEAD}\0{STEP}"),
        "5:1: there is a control character (U+0000)",
    );
    refused("zeros", vec![0_u8; 1 << 20], "U+0000");
    refused("an executable", std::fs::read(env!("CARGO_BIN_EXE_braid")).unwrap(), "");
    refused("escape", format!("{HEAD}\u{1b}[2J{STEP}"), "U+001B");
}

#[test]
fn expressions() {
    let output = |value: &str| {
        format!(
            "{HEAD}{STEP}  outputs:\n    - name: out\n      value: '{}'\n",
            value.replace('\'', "''")
        )
    };
    for (what, value, because) in [
        ("brackets", "(".repeat(2_000), "open brackets"),
        (
            "lists",
            format!("{}1{}", "[".repeat(1_000), "]".repeat(1_000)),
            "open brackets",
        ),
        (
            "maps",
            format!("{}1{}", "{1:".repeat(500), "}".repeat(500)),
            "open brackets",
        ),
        ("negations", format!("{}true", "!".repeat(2_000)), "unary operators"),
        ("minuses", format!("{}1", "-".repeat(2_000)), "unary operators"),
        ("conditionals", format!("{}1", "true?1:".repeat(290)), "conditionals"),
        ("sums", format!("1{}", "+1".repeat(1_000)), "names and literals"),
        ("ands", format!("true{}", "&&true".repeat(300)), "names and literals"),
        (
            "selections",
            format!("params{}", ".a".repeat(1_000)),
            "selections in a row",
        ),
        ("macros", "[1].all(a,".repeat(150) + "true", "open brackets"),
        ("mixed", "[{(-!".repeat(400), ""),
        ("quotes", "'\"".repeat(1_000), ""),
        ("length", "1".repeat(10_000), "Too long"),
    ] {
        refused(what, output(&value), because);
    }
    let items = vec!["1"; 9_000].join(", ");
    let work = format!(
        "{HEAD}  params: [{{name: list, value: [{items}]}}]\n  steps:\n    - name: one\n      run:\n        command: [\"true\"]\n        env:\n          - {{name: N, value: \"$(params.list.all(x, params.list.all(y, x == y)))\"}}\n"
    );
    refused("81 million visits", work, "visits or makes too much");
}
