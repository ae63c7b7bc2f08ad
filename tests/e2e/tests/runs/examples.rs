//! The examples of the repository, beside find, xargs, tr, sort, awk, and arithmetic.

use std::fmt::Write as _;
use std::path::Path;

use braid_e2e::{Ended, Home, root};
use serde_json::{Value, json};

fn example(home: &Home, name: &str, more: &[&str]) -> Ended {
    home.run(&root().join("examples").join(name), more).exits(0)
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

/// What `census.check.sh` says of a tree.
fn counted_otherwise(home: &Home, tree: &Path) -> Value {
    let check = root().join("examples/census.check.sh");
    serde_json::from_str(&home.shell(&format!("'{}' '{}'", check.display(), tree.display()))).unwrap()
}

#[test]
fn census_of_a_small_tree() {
    let home = Home::default();
    // More files than a partition takes, crates of one file and of many, names that a shell would break, last lines without
    // their end, empty files, and files that are not counted.
    for crate_number in 0..7 {
        for file in 0..=crate_number * 9 {
            let unsafe_lines = "unsafe { a() } // unsafe\n".repeat((crate_number * file) % 5);
            let text = format!("fn a() {{}}\n{unsafe_lines}// not_unsafe\nlast {file}");
            home.write(&format!("tree/registry-1/crate-{crate_number}/src/f {file}.rs"), text);
        }
    }
    home.write("tree/registry-1/lone-0.1.0/build.rs", "unsafe");
    home.write("tree/registry-2/it's-1.0.0/src/a\"b.rs", "unsafe\nunsafe\n");
    home.write("tree/registry-2/empty-1.0.0/src/lib.rs", "");
    home.write(
        "tree/registry-2/bytes-1.0.0/src/lib.rs",
        b"\xff\xfe unsafe\n\0 unsafe\n",
    );
    home.write("tree/registry-2/other-1.0.0/src/lib.py", "unsafe\n");
    home.write("tree/top.rs", "unsafe\n");
    let tree = home.path("tree");
    let ended = example(&home, "census.yaml", &["-p", &format!("root={}", tree.display())]);
    let expected = counted_otherwise(&home, &tree);
    assert_eq!(expected, ended.document["outputs"]);
    let files = number(&home.shell("find tree -mindepth 3 -name '*.rs' | wc -l"));
    assert_eq!(json!(files), ended.document["outputs"]["files"]);
    assert_eq!(ended.counts("count").0, files.div_ceil(50));
}

/// The sources that cargo has fetched here; every machine that built this has some.
#[test]
fn census_of_what_cargo_has_fetched() {
    let home = Home::default();
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap()).join(".cargo"),
        Into::into,
    );
    let tree = cargo.join("registry/src");
    if !tree.is_dir() {
        // Built from vendored sources: the small tree has to do.
        return;
    }
    let ended = example(&home, "census.yaml", &["-p", &format!("root={}", tree.display())]);
    assert_eq!(counted_otherwise(&home, &tree), ended.document["outputs"]);
}

#[test]
fn double() {
    let home = Home::default();
    let source = std::fs::read(root().join("examples/src/double.py")).unwrap();
    home.write("src/double.py", source);
    let ended = example(&home, "double.yaml", &[]);
    let outputs = &ended.document["outputs"];
    assert_eq!(json!((0..100_000_u64).map(|n| n * 2).sum::<u64>()), outputs["sum"]);
    assert_eq!(json!(true), outputs["as_expected"]);
}

#[test]
fn enrich() {
    let home = Home::default();
    home.write(
        "server.py",
        std::fs::read(root().join("examples/enrich/server.py")).unwrap(),
    );
    let ended = example(&home, "enrich/enrich.yaml", &[]);
    assert_eq!(ended.counts("enrich"), (400, 396, 4));
    let known = || (0..400_u64).filter(|n| n % 100 != 13);
    let outputs = &ended.document["outputs"];
    assert_eq!(json!(known().count()), outputs["found"]);
    assert_eq!(json!(known().map(|n| n % 7).sum::<u64>()), outputs["orders"]);
    let step = ended.step("enrich");
    assert_eq!(step["failures"][0]["reason"], "HTTP404", "{step}");
    // Nothing was tried again: waiting is no attempt.
    assert_eq!(json!(0), step["retried"], "{step}");
}

/// The same with a rule for what the server says of customers that there are not.
#[test]
fn enrich_asks_again_where_a_rule_says_so() {
    let home = Home::default();
    let file = |path: &str| std::fs::read_to_string(root().join("examples/enrich").join(path)).unwrap();
    home.write("server.py", file("server.py"));
    let rule = "retry: {attempts: 2, backoff: {initial: 10ms}, rules: [{httpStatuses: [404], action: Retry}]}";
    let manifest = file("enrich.yaml").replace("maxFailedPartitions", &format!("{rule}\n      maxFailedPartitions"));
    assert!(manifest.contains(rule));
    let ended = home.run(&home.write("enrich.yaml", manifest), &[]).exits(0);
    let step = ended.step("enrich");
    assert_eq!(
        ("HTTP404", 4),
        (
            step["failures"][0]["reason"].as_str().unwrap(),
            step["failures"][0]["count"].as_u64().unwrap()
        )
    );
    assert!(step["retried"].as_u64() >= Some(4), "{step}");
}

#[test]
fn squares() {
    let home = Home::default();
    let ended = example(&home, "squares.yaml", &[]);
    let n: u64 = 1000;
    let outputs = &ended.document["outputs"];
    assert_eq!(json!(n * (n + 1) * (2 * n + 1) / 6), outputs["sum"]);
    assert_eq!(json!(true), outputs["as_expected"]);
    assert_eq!(json!(n), outputs["how_many"]);
    let value = |output: &Value| output.get("value").unwrap_or(output).clone();
    assert_eq!(
        (json!(1), json!(n * n)),
        (value(&outputs["smallest"]), value(&outputs["largest"]))
    );
    assert_eq!((n, n, 0), ended.counts("square"));
}

#[test]
fn wordcount() {
    let home = Home::default();
    // Larger than a partition, so that it is cut; one line longer than a partition; none with its end.
    let mut text = String::new();
    for n in 0..20_000 {
        let dog = n % 17;
        writeln!(text, "The {n} quick brown foxes' jump over the lazy dog number {dog}").unwrap();
    }
    home.write("texts/long.md", &text);
    home.write("texts/one line.md", "word and the word ".repeat(6000));
    home.write("texts/empty.md", "");
    home.write("texts/sub/more.md", "Zebra\r\nthe\n\n\nlast");
    let ended = example(&home, "wordcount.yaml", &["-p", "texts=texts/**/*.md"]);
    let outputs = &ended.document["outputs"];
    let words = "find texts -name '*.md' -exec cat {} + | tr -cs 'A-Za-z' '\\n' | tr A-Z a-z | grep .";
    // The texts end without a line feed, so files are not to be joined by cat.
    let words = words.replace("cat {} +", "awk 1 {} +");
    assert_eq!(
        json!(number(&home.shell(&format!("{words} | wc -l")))),
        outputs["words"]
    );
    assert_eq!(
        json!(number(&home.shell(&format!("{words} | grep -cx the")))),
        outputs["the"]
    );
    let letters = home.shell(&format!(
        "{words} | cut -c1 | sort | uniq -c | sort -k1,1nr -k2,2 | head -10"
    ));
    let letters: serde_json::Map<String, Value> = letters
        .lines()
        .map(|line| line.trim().split_once(' ').unwrap())
        .map(|(count, letter)| (letter.to_owned(), json!(number(count))))
        .collect();
    assert_eq!(Value::Object(letters), outputs["letters"]);
    assert!(
        ended.counts("count").0 > 15,
        "it was not cut: {:?}",
        ended.counts("count")
    );
}

#[test]
fn retry() {
    let home = Home::default();
    let ended = example(&home, "retry.yaml", &[]);
    // As its script says: 13 never succeeds, multiples of 10 need three attempts, other multiples of 3 two.
    let needed = |n: u64| {
        if n.is_multiple_of(10) {
            3
        } else if n.is_multiple_of(3) {
            2
        } else {
            1
        }
    };
    let attempts: u64 = (0..30).filter(|n| *n != 13).map(needed).sum();
    let outputs = &ended.document["outputs"];
    assert_eq!(
        (json!(29), json!(1), json!(attempts), json!(30)),
        (
            outputs["done"].clone(),
            outputs["failed"].clone(),
            outputs["attempts"].clone(),
            outputs["checked"].clone()
        )
    );
    assert_eq!((30, 29, 1), ended.counts("flaky"));
    let cause = &ended.step("flaky")["failures"][0];
    assert_eq!(
        (json!("Exit65"), json!(1), json!(13), json!(3)),
        (
            cause["reason"].clone(),
            cause["count"].clone(),
            cause["sample"].clone(),
            cause["attempts"].clone()
        )
    );
    assert!(cause["message"].as_str().unwrap().contains("13 never works"), "{cause}");
}

/// The examples for pods differ in what their pods are and where their data are, and in nothing else.
#[test]
fn examples_for_pods_are_the_same() {
    let home = Home::default();
    for (here, there) in [
        ("census", "census"),
        ("wordcount", "wordcount"),
        ("enrich/enrich", "enrich"),
        ("pause-and-resume", "pause-and-resume"),
    ] {
        let steps = |file: &str| {
            let text = std::fs::read_to_string(root().join("examples").join(file)).unwrap();
            text.split_once("\n  steps:\n").unwrap().1.to_owned()
        };
        let file = format!("kubernetes/{there}.yaml");
        assert_eq!(steps(&format!("{here}.yaml")), steps(&file), "{there}");
        let path = root().join("examples").join(file);
        home.shell(&format!("'{}' lint '{}'", braid_e2e::braid().display(), path.display()));
    }
}

#[test]
fn matrix() {
    let home = Home::default();
    let ended = example(&home, "matrix.yaml", &[]);
    let (mut area, mut combinations) = (100, 1);
    for width in 1..=3 {
        for height in 1..=4 {
            if width != height {
                area += width * height + if height == 4 { 100 } else { 0 };
                combinations += 1;
            }
        }
    }
    let halves: u64 = (1..=6).filter(|n| *n <= combinations / 2).sum();
    assert_eq!(
        json!({"area": area, "combinations": combinations, "halves": halves}),
        ended.document["outputs"]
    );
    assert_eq!((10, 10, 0), ended.counts("areas"));
}

#[test]
fn diamond() {
    let phase = |ended: &Ended, step: &str| ended.document["steps"][step]["phase"].clone();
    for (count, ran, rested, points) in [(50, "many", "few", 20), (5, "few", "many", 3)] {
        let home = Home::default();
        let ended = example(&home, "diamond.yaml", &["-p", &format!("count={count}")]);
        let expected = json!({"sum": count * (count + 1) / 2, "points": points, "mended": false});
        assert_eq!(expected, ended.document["outputs"]);
        assert_eq!(json!("Succeeded"), phase(&ended, ran));
        assert_eq!(json!("Skipped"), phase(&ended, rested));
        assert_eq!("When", ended.step(rested)["skipped"]);
        for idle in ["mend", "both"] {
            assert_eq!(json!("Skipped"), phase(&ended, idle));
            assert_eq!("Rule", ended.step(idle)["skipped"], "{:?}", ended.step(idle));
        }
    }
}

#[test]
fn shuffle() {
    let home = Home::default();
    let ended = example(&home, "shuffle.yaml", &[]);
    let check = root().join("examples/shuffle.check.sh");
    let counted: Value = serde_json::from_str(&home.shell(&format!("'{}' sales", check.display()))).unwrap();
    assert_eq!(counted, ended.document["outputs"]);
    assert_eq!((16, 16, 0), ended.counts("by-shop"));
}

#[test]
fn primes() {
    let home = Home::default();
    let ended = example(&home, "primes.yaml", &[]);
    let is_prime = |number: &u64| {
        *number > 1
            && (2..*number)
                .take_while(|d| d * d <= *number)
                .all(|d| !number.is_multiple_of(d))
    };
    let primes: Vec<u64> = (0..20_000).filter(is_prime).collect();
    let expected = json!({"primes": primes.len(), "sum": primes.iter().sum::<u64>()});
    assert_eq!(expected, ended.document["outputs"]);
    let table = home.shell("cat primes/*.txt");
    let found: Vec<u64> = table.lines().map(number).collect();
    assert_eq!(primes, found);
    assert_eq!((20, 20, 0), ended.counts("sum"));
}

#[test]
fn thumbs() {
    let home = Home::default();
    let ended = example(&home, "thumbs.yaml", &[]);
    let check = root().join("examples/thumbs.check.sh");
    let counted: Value = serde_json::from_str(&home.shell(&format!("'{}' album", check.display()))).unwrap();
    assert_eq!(counted, ended.document["outputs"]);
    assert_eq!(json!(24 * 16 * 12), ended.document["outputs"]["pixels"]);
    assert_eq!((24, 24, 0), ended.counts("shrink"));
}
