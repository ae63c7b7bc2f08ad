//! `braid graph`: which steps come after which, as a drawing for people or as text for other programs.
//!
//! The drawing is a tree: each step stands below one of those it waits for, the first that is drawn, and is named again below the others.

use std::{collections::BTreeSet, fmt::Write as _};

use braid_cli::lint::Linter;
use braid_crds::{
    Workflow,
    workflow::{AfterRule, Over, Step},
};
use braid_engine::dag::before;
use kube::ResourceExt as _;

use crate::{
    args::GraphArgs,
    exit::{Exit, Failure},
    out, progress,
};

/// Characters of an expression that are shown.
const EXPRESSION: usize = 60;

/// Draws the workflows of a file.
pub fn graph(args: &GraphArgs) -> Result<Exit, Failure> {
    let linter = Linter::new().map_err(Failure::unreachable)?;
    let workflows = match linter.file(&args.file) {
        Ok(workflows) => workflows,
        Err(problems) => {
            for problem in problems {
                progress::say(&problem.to_string());
            }
            return Ok(Exit::Usage);
        }
    };
    for (index, workflow) in workflows.iter().enumerate() {
        if index > 0 {
            out::write("\n")?;
        }
        if let (Some(from), []) = (&workflow.spec.resume_from, workflow.spec.steps.as_slice()) {
            out::lines(&[format!("{}: the steps are those of {}", workflow.name_any(), from.name)])?;
            continue;
        }
        let text = match (args.dot, args.mermaid) {
            (true, _) => dot(workflow),
            (_, true) => mermaid(workflow),
            _ => drawing(workflow),
        };
        out::write(&text)?;
    }
    Ok(Exit::Succeeded)
}

/// What a step runs over, when, how often: the facts that decide how it goes.
fn facts(step: &Step) -> Vec<String> {
    let mut facts = vec![over(step.over.as_ref())];
    if !step.writes.is_empty() {
        let data: Vec<&str> = step.writes.iter().map(|write| write.data.as_str()).collect();
        facts.push(format!("writes {}", data.join(", ")));
    }
    if let Some(emit) = &step.emit {
        facts.push(format!("emits to {}", emit.to));
    }
    if let Some(rule) = step.after_rule.filter(|rule| *rule != AfterRule::AllSucceeded) {
        facts.push(format!("{rule:?}"));
    }
    if let Some(when) = &step.when {
        facts.push(format!("when {}", cut(when)));
    }
    if let Some(when) = &step.stop_when {
        facts.push(format!("until {}", cut(when)));
    }
    if let Some(repeat) = &step.repeat {
        facts.push(format!(
            "repeats until {}, at most {} times",
            cut(&repeat.until),
            repeat.max
        ));
    }
    facts
}

fn over(over: Option<&Over>) -> String {
    let Some(over) = over else { return "once".to_owned() };
    if let Some(data) = &over.data {
        format!("over data {data}")
    } else if let Some(range) = &over.range {
        let count = range.end.saturating_sub(range.start).unsigned_abs();
        let count = count.div_ceil(range.step.unsigned_abs().max(1));
        format!("over {count} numbers")
    } else if let Some(items) = &over.items {
        format!("over {} items", items.len())
    } else if let Some(from) = &over.items_from {
        format!("over {}", cut(from))
    } else if let Some(matrix) = &over.matrix {
        let count = braid_engine::matrix::combinations(matrix).map_or(0, |all| all.len());
        let axes: Vec<&str> = matrix.axes.iter().map(|axis| axis.name.as_str()).collect();
        format!("over {count} of {}", axes.join(" x "))
    } else {
        "once".to_owned()
    }
}

fn cut(expression: &str) -> String {
    let plain: String = expression.split_whitespace().collect::<Vec<_>>().join(" ");
    if plain.chars().count() <= EXPRESSION {
        return plain;
    }
    plain.chars().take(EXPRESSION - 3).chain("...".chars()).collect()
}

/// The drawing for people.
fn drawing(workflow: &Workflow) -> String {
    let steps = &workflow.spec.steps;
    let mut drawn = Drawing {
        steps,
        seen: BTreeSet::new(),
        text: format!("{}\n", workflow.name_any()),
    };
    let roots = |finally: bool| move |step: &&Step| step.finally == finally && before(steps, step).is_empty();
    let ordinary: Vec<&Step> = steps.iter().filter(roots(false)).collect();
    drawn.children(&ordinary, "");
    let last: Vec<&Step> = steps.iter().filter(roots(true)).collect();
    if !last.is_empty() {
        drawn.text.push_str("finally\n");
        drawn.children(&last, "");
    }
    drawn.text
}

struct Drawing<'a> {
    steps: &'a [Step],
    seen: BTreeSet<&'a str>,
    text: String,
}

impl<'a> Drawing<'a> {
    fn children(&mut self, steps: &[&'a Step], indent: &str) {
        for (index, step) in steps.iter().enumerate() {
            let last = index + 1 == steps.len();
            let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let _ = write!(self.text, "{indent}{branch}{}", step.name);
            if !self.seen.insert(&step.name) {
                self.text.push_str("  (above)\n");
                continue;
            }
            let mut facts = facts(step);
            let others = before(self.steps, step);
            if others.len() > 1 {
                facts.insert(1, format!("after {}", others.join(", ")));
            }
            let _ = writeln!(self.text, "  {}", facts.join("; "));
            let after: Vec<&'a Step> = self
                .steps
                .iter()
                .filter(|other| before(self.steps, other).contains(&step.name.as_str()))
                .collect();
            self.children(&after, &format!("{indent}{below}"));
        }
    }
}

/// For Graphviz.
fn dot(workflow: &Workflow) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut text = format!(
        "digraph \"{}\" {{\n  rankdir=LR;\n  node [shape=box];\n",
        quoted(&workflow.name_any())
    );
    for step in &workflow.spec.steps {
        let lines: Vec<String> = facts(step).iter().map(|fact| quoted(fact)).collect();
        let style = if step.finally { ", style=dashed" } else { "" };
        let _ = writeln!(
            text,
            "  \"{}\" [label=\"{}\\n{}\"{style}];",
            step.name,
            step.name,
            lines.join("\\n")
        );
    }
    for (from, to, kind) in edges(workflow) {
        let style = if kind == Edge::Finally { " [style=dashed]" } else { "" };
        let _ = writeln!(text, "  \"{from}\" -> \"{to}\"{style};");
    }
    text.push_str("}\n");
    text
}

/// For pages that draw Mermaid.
fn mermaid(workflow: &Workflow) -> String {
    let quoted = |text: &str| {
        text.replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    };
    let steps = &workflow.spec.steps;
    // A name may be a word of the drawing's language: steps are named by their numbers.
    let id = |name: &str| steps.iter().position(|step| step.name == name).unwrap_or_default();
    let mut text = "flowchart LR\n".to_owned();
    for step in steps {
        let lines: Vec<String> = facts(step).iter().map(|fact| quoted(fact)).collect();
        let _ = writeln!(
            text,
            "  s{}[\"{}<br/>{}\"]",
            id(&step.name),
            step.name,
            lines.join("<br/>")
        );
    }
    for (from, to, kind) in edges(workflow) {
        let arrow = if kind == Edge::Finally { "-.->" } else { "-->" };
        let _ = writeln!(text, "  s{} {arrow} s{}", id(from), id(to));
    }
    text
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    After,
    Finally,
}

/// Who comes after whom; of a step that is `finally` only what no other step comes after.
fn edges(workflow: &Workflow) -> Vec<(&str, &str, Edge)> {
    let steps = &workflow.spec.steps;
    let is_last = |name: &str| !steps.iter().any(|step| before(steps, step).contains(&name));
    let mut edges = Vec::new();
    for step in steps {
        let before = before(steps, step);
        edges.extend(before.iter().map(|before| (*before, step.name.as_str(), Edge::After)));
        if step.finally && before.is_empty() {
            let others = steps.iter().filter(|other| !other.finally && is_last(&other.name));
            edges.extend(others.map(|other| (other.name.as_str(), step.name.as_str(), Edge::Finally)));
        }
    }
    edges
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn workflow() -> Workflow {
        let run = json!({"command": ["true"]});
        serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "night"},
            "spec": {"steps": [
                {"name": "list", "run": run},
                {"name": "left", "after": ["list"], "over": {"range": {"start": 1, "end": 8, "step": 2}}, "run": run},
                {"name": "end", "after": ["left"], "over": {"itemsFrom": "steps.left.results.names"}, "when": "1 < 2 && \"a\" != \"b\"", "run": run},
                {"name": "both", "after": ["list", "left"], "afterRule": "AnySucceeded", "run": run,
                 "over": {"matrix": {"axes": [{"name": "os", "values": [1, 2]}, {"name": "n", "values": [1, 2, 3]}], "exclude": [{"os": 1, "n": 1}]}}},
                {"name": "poll", "repeat": {"until": "results.ready > 0", "max": 5}, "run": run},
                {"name": "hook", "finally": true, "run": run},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn draws_a_tree_in_which_each_step_is_told_once() {
        let expected = "\
night
├─ list  once
│  ├─ left  over 4 numbers
│  │  ├─ end  over steps.left.results.names; when 1 < 2 && \"a\" != \"b\"
│  │  └─ both  over 5 of os x n; after list, left; AnySucceeded
│  └─ both  (above)
└─ poll  once; repeats until results.ready > 0, at most 5 times
finally
└─ hook  once
";
        assert_eq!(expected, drawing(&workflow()));
    }

    #[test]
    fn texts_for_other_programs_are_escaped() {
        let dot = dot(&workflow());
        for line in [
            "digraph \"night\" {",
            "  \"end\" [label=\"end\\nover steps.left.results.names\\nwhen 1 < 2 && \\\"a\\\" != \\\"b\\\"\"];",
            "  \"list\" -> \"both\";",
            "  \"left\" -> \"both\";",
            "  \"both\" -> \"hook\" [style=dashed];",
            "  \"hook\" [label=\"hook\\nonce\", style=dashed];",
        ] {
            assert!(dot.lines().any(|other| other == line), "{line}\n{dot}");
        }
        let mermaid = mermaid(&workflow());
        for line in [
            "flowchart LR",
            "  s2[\"end<br/>over steps.left.results.names<br/>when 1 &lt; 2 &amp;&amp; &quot;a&quot; != &quot;b&quot;\"]",
            "  s0 --> s1",
            "  s2 -.-> s5",
        ] {
            assert!(mermaid.lines().any(|other| other == line), "{line}\n{mermaid}");
        }
        assert!(!mermaid.contains("s0 -.-> s5"), "{mermaid}");
    }
}
