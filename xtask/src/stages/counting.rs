//! Commands that run tests: what they print is shown as it comes, and counted.

use std::{
    io::{BufRead as _, BufReader, IsTerminal as _, Read},
    process::{Command, Stdio},
};

use anyhow::Context as _;

use crate::root;

/// How much is said again at the end, in lines of each test that failed, and in characters of each line.
const AGAIN: (usize, usize) = (12, 600);

/// More tests than that do not fail by accident.
const FEW: usize = 4;

/// Tests counted by their own summaries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were left out.
    pub ignored: u64,
    /// The command failed though no test did: a build that failed, a test binary that died before its summary.
    pub broke: bool,
    /// The first lines of what each test that failed said when it did.
    pub why: Vec<String>,
    /// The names of the tests that failed.
    pub names: Vec<String>,
    /// Of tests that failed, and passed when they were run again.
    pub unsteady: Vec<String>,
}

/// Reads what a test program prints: at its end, what the tests that failed have printed, each behind a line with its name.
#[derive(Default)]
struct Reading {
    tally: Tally,
    /// The test of which the output is shown.
    shown: Option<String>,
    /// Of the last entry of `why` that may still be added.
    room: usize,
    /// Names of tests that failed come next.
    lists: bool,
    /// Test programs that have begun and not ended.
    open: u64,
}

/// As [`counted`], of tests on real servers and clusters, which do not wait for anybody: of a few that fail each is tried again alone. What
/// passes then is counted, and told.
pub fn steadied(command: Command) -> anyhow::Result<Tally> {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => again.env(name, value),
            None => again.env_remove(name),
        };
    }
    let first = counted(command)?;
    if first.broke || !(1..=FEW).contains(&first.names.len()) {
        return Ok(first);
    }
    println!("==> again: {}", first.names.join(", "));
    again.arg("--exact").args(&first.names);
    let second = counted(again)?;
    if second.failed > 0 || second.passed < first.failed {
        return Ok(Tally {
            why: [first.why, second.why].concat(),
            ..first
        });
    }
    // What was said begins with the name; one that died at once has said nothing.
    let said = |name: &String| {
        let why = first.why.iter().find(|why| why.starts_with(name.as_str()));
        why.unwrap_or(name).clone()
    };
    Ok(Tally {
        passed: first.passed + first.failed,
        failed: 0,
        ignored: first.ignored,
        unsteady: first.names.iter().map(said).collect(),
        ..Tally::default()
    })
}

/// Runs a command with its output shown, and counts the tests that it reports.
pub fn counted(mut command: Command) -> anyhow::Result<Tally> {
    // On a terminal cargo shows how far it is; elsewhere what tests that are not captured say is read, too.
    let watched = std::io::stderr().is_terminal();
    let mut child = command
        .current_dir(root()?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(if watched { Stdio::inherit() } else { Stdio::piped() })
        .spawn()
        .with_context(|| format!("{}", command.get_program().display()))?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let (output, errors) = std::thread::scope(|scope| {
        let errors = scope.spawn(|| follow(errors, |line| eprint!("{line}")));
        let output = follow(output, |line| print!("{line}"));
        (output, errors.join())
    });
    let errors = errors.map_err(|_| anyhow::anyhow!("reading the errors"))?;
    let mut tally = output?.tally.and(errors?.tally);
    let status = child.wait().context("waiting for the end")?;
    if !status.success() && tally.failed == 0 {
        tally.failed = 1;
        tally.broke = true;
    }
    Ok(tally)
}

impl Tally {
    /// Of both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            why: [self.why, other.why].concat(),
            names: [self.names, other.names].concat(),
            unsteady: [self.unsteady, other.unsteady].concat(),
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
            broke: self.broke || other.broke,
        }
    }

    /// Reads `test result: ok. 3 passed; 1 failed; 0 ignored; ...`.
    fn add(&mut self, line: &str) {
        let Some(summary) = line.trim().strip_prefix("test result: ") else {
            return;
        };
        let counts = summary.split_once(". ").map_or("", |(_, counts)| counts);
        for count in counts.split(';') {
            if let Some((number, what)) = count.trim().split_once(' ')
                && let Ok(number) = number.parse::<u64>()
            {
                match what {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    "ignored" => self.ignored += number,
                    _ => {}
                }
            }
        }
    }
}

/// Shows what comes, and reads it.
fn follow(stream: Option<impl Read>, show: impl Fn(&str)) -> anyhow::Result<Reading> {
    let mut reading = Reading::default();
    let Some(stream) = stream else {
        return Ok(reading);
    };
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).context("reading the output")? > 0 {
        let text = String::from_utf8_lossy(&line);
        show(&text);
        reading.line(&text);
        line.clear();
    }
    // One that died in its midst has not counted what it had not run: that others pass when they are run again says nothing of it.
    reading.tally.broke = reading.open > 0;
    Ok(reading)
}

impl Reading {
    fn line(&mut self, line: &str) {
        self.tally.add(line);
        let line = line.trim_end();
        if line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test")) {
            self.open += 1;
        } else if line.starts_with("test result: ") {
            self.open = self.open.saturating_sub(1);
        }
        match line.strip_prefix("    ") {
            Some(name) if self.lists && !name.contains(' ') => self.tally.names.push(name.to_owned()),
            // Their list has nothing before it but its title.
            _ => self.lists = line == "failures:",
        }
        let shown = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"));
        let panicked = line
            .strip_prefix("thread '")
            .and_then(|rest| rest.split_once(" panicked at "));
        if let Some(test) = shown {
            self.shown = Some(test.to_owned());
        } else if let Some((thread, place)) = panicked {
            let thread = thread.split_once('\'').map_or(thread, |(name, _)| name);
            let test = self.shown.as_deref().unwrap_or(thread);
            self.tally.why.push(format!("{test}: {place}"));
            self.room = AGAIN.0;
        } else if self.lists || line.starts_with("stack backtrace:") || line.starts_with("note: run with ") {
            self.room = 0;
        } else if self.room > 0
            && !line.is_empty()
            && let Some(why) = self.tally.why.last_mut()
        {
            self.room -= 1;
            why.push_str("\n    ");
            why.extend(line.chars().take(AGAIN.1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_counted() {
        let mut reading = Reading::default();
        for line in [
            "running 3 tests\n",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
            "the text `test result: ok. 9 passed` inside a line\n",
            "test result: nonsense\n",
        ] {
            reading.line(line);
        }
        assert_eq!(
            reading.tally,
            Tally {
                passed: 7,
                failed: 2,
                ignored: 1,
                ..Tally::default()
            }
        );
    }

    #[test]
    fn a_command_that_fails_without_a_summary_is_a_failure() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'test result: ok. 2 passed; 0 failed;'; exit 3"]);
        assert_eq!(
            counted(command).unwrap(),
            Tally {
                passed: 2,
                failed: 1,
                broke: true,
                ..Tally::default()
            }
        );
    }

    /// A command that fails a test unless it is told its name.
    fn shaky(or: &str) -> Command {
        let mut command = Command::new("sh");
        let script = format!(
            "if [ \"$1 $2\" = '--exact a::test' ]; then echo 'test result: ok. 1 passed; 0 failed;'; {or}; fi
            printf 'failures:\\n    a::test\\n\\ntest result: FAILED. 4 passed; 1 failed;\\n'; exit 101"
        );
        command.args(["-c", &script, "sh"]);
        command
    }

    #[test]
    fn what_passes_alone_is_counted_and_told() {
        let tally = steadied(shaky("exit 0")).unwrap();
        assert_eq!((tally.passed, tally.failed), (5, 0));
        assert_eq!(tally.unsteady, ["a::test"]);
        let tally = steadied(shaky("true")).unwrap();
        assert_eq!((tally.passed, tally.failed, tally.unsteady.len()), (4, 1, 0));
    }

    #[test]
    fn a_program_that_dies_is_not_hidden_by_tests_that_pass_alone() {
        let mut command = Command::new("sh");
        let script = "[ \"$1\" = --exact ] && { echo 'test result: ok. 1 passed; 0 failed;'; exit 0; }
            echo 'running 9 tests'; echo 'running 1 test'
            printf 'failures:\\n    a::test\\n\\ntest result: FAILED. 0 passed; 1 failed;\\n'; exit 101";
        command.args(["-c", script, "sh"]);
        let tally = steadied(command).unwrap();
        assert_eq!((tally.broke, tally.failed), (true, 1));
    }

    #[test]
    fn what_a_failed_test_said_is_said_again() {
        let mut reading = Reading::default();
        for line in [
            "---- a::test stdout ----\n",
            "of the test itself\n",
            "thread 'a::test' (7) panicked at tests/a.rs:3:9:\n",
            "no \"x\" in\n",
            "y\n",
            "stack backtrace:\n",
            "   0: __rustc\n",
            "---- b stdout ----\n",
            "thread 'b' (8) panicked at tests/b.rs:1:2:\n",
            "z\n",
            "\n",
            "failures:\n",
            "    a::test\n",
            "    b\n",
            "\n",
            "    c\n",
        ] {
            reading.line(line);
        }
        assert_eq!(reading.tally.names, ["a::test", "b"]);
        let why = [
            "a::test: tests/a.rs:3:9:\n    no \"x\" in\n    y",
            "b: tests/b.rs:1:2:\n    z",
        ];
        assert_eq!(reading.tally.why, why);
    }
}
