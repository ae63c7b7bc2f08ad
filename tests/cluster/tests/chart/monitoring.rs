//! Alerts and the dashboard ask for metrics that the operator has, and say what the documentation explains.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use braid_operator::Counters;
use braid_operator::counters::{METRICS, MetricKind};
use prometheus_client::registry::Registry;
use promql_parser::label::MatchOp;
use promql_parser::parser::{self, Expr, VectorSelector};
use serde_json::Value;

use crate::helm::{kind, objects, printed, render, repository, template};

/// What a series of a metric is called behind the metric's name.
const SUFFIXES: [&str; 5] = ["", "_total", "_bucket", "_sum", "_count"];
/// Labels that Prometheus gives by itself.
const OF_THE_TARGET: [&str; 3] = ["namespace", "job", "pod"];

/// What the operator has.
struct Metrics {
    /// Names of metrics, without suffixes.
    names: BTreeSet<String>,
    /// Series as they are read, with the values that their labels can have, as far as they are there from the beginning.
    series: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Metrics {
    fn of_the_operator() -> Self {
        let counters = Counters::default();
        // Makes the labels' values known.
        let _ = counters.read();
        let mut registry = Registry::with_prefix("braid_operator");
        counters.register(&mut registry);
        let names = METRICS.iter().map(|metric| format!("braid_operator_{}", metric.name));
        let names: BTreeSet<String> = names.collect();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let mut series: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Expr::VectorSelector(read) = parser::parse(line.rsplit_once(' ').unwrap().0).unwrap() else {
                panic!("{line}");
            };
            let labels = series.entry(read.name.unwrap()).or_default();
            for matcher in read.matchers.matchers {
                labels.entry(matcher.name).or_default().insert(matcher.value);
            }
        }
        Self { names, series }
    }

    /// What is wrong with a question.
    fn judge(&self, asked: &VectorSelector) -> Result<(), String> {
        let name = asked.name.as_deref().ok_or("no name")?;
        let metric = SUFFIXES
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|metric| self.names.contains(*metric))
            .ok_or_else(|| format!("the operator has no metric {name}, but {:?}", self.names))?;
        let Some(labels) = self.series.get(name) else {
            let of_it = |other: &&String| SUFFIXES.iter().any(|suffix| **other == format!("{metric}{suffix}"));
            return match self.series.keys().find(of_it) {
                Some(other) => Err(format!("{name} is read as {other}")),
                // Nothing has been counted yet.
                None => Ok(()),
            };
        };
        for matcher in &asked.matchers.matchers {
            if OF_THE_TARGET.contains(&matcher.name.as_str()) || matcher.op != MatchOp::Equal {
                continue;
            }
            let values = labels.get(&matcher.name);
            if !values.is_some_and(|values| values.contains(&matcher.value)) {
                return Err(format!(
                    "{name} has no {}={:?}, but {values:?}",
                    matcher.name, matcher.value
                ));
            }
        }
        Ok(())
    }

    /// Everything that an expression asks for is there.
    fn check(&self, what: &str, expression: &str) {
        let parsed = parser::parse(expression).unwrap_or_else(|error| panic!("{what}: {error}: {expression}"));
        let mut asked = Vec::new();
        questions(&parsed, &mut asked);
        assert!(!asked.is_empty(), "{what} asks for nothing: {expression}");
        for question in asked {
            self.judge(question)
                .unwrap_or_else(|wrong| panic!("{what}: {wrong}: {expression}"));
        }
    }
}

/// The series that an expression reads.
fn questions<'a>(expression: &'a Expr, found: &mut Vec<&'a VectorSelector>) {
    match expression {
        Expr::VectorSelector(selector) => found.push(selector),
        Expr::MatrixSelector(selector) => found.push(&selector.vs),
        Expr::Aggregate(aggregate) => {
            questions(&aggregate.expr, found);
            if let Some(parameter) = &aggregate.param {
                questions(parameter, found);
            }
        }
        Expr::Unary(unary) => questions(&unary.expr, found),
        Expr::Binary(binary) => {
            questions(&binary.lhs, found);
            questions(&binary.rhs, found);
        }
        Expr::Paren(inner) => questions(&inner.expr, found),
        Expr::Subquery(inner) => questions(&inner.expr, found),
        Expr::Call(call) => call.args.args.iter().for_each(|argument| questions(argument, found)),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

fn alerts(rules: &Value) -> Vec<&Value> {
    let groups = rules["spec"]["groups"].as_array().unwrap();
    groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect()
}

fn rules() -> Value {
    render("full")
        .into_iter()
        .find(|object| kind(object) == "PrometheusRule")
        .unwrap()
}

#[test]
fn alerts_ask_for_metrics_that_there_are() {
    let metrics = Metrics::of_the_operator();
    assert!(metrics.names.len() > 5, "{:?}", metrics.names);
    let rules = rules();
    let alerts = alerts(&rules);
    assert!(alerts.len() > 5);
    for alert in alerts {
        metrics.check(alert["alert"].as_str().unwrap(), alert["expr"].as_str().unwrap());
    }
}

#[test]
fn wrong_questions_are_found() {
    let metrics = Metrics::of_the_operator();
    for wrong in [
        "braid_operator_loops_total",
        "braid_operator_passes",
        "braid_operator_leading_total",
        "braid_operator_passes_total{outcome=\"Broken\"}",
        "braid_operator_passes_total{result=\"Failed\"}",
    ] {
        let Ok(Expr::VectorSelector(asked)) = parser::parse(wrong) else {
            panic!("{wrong}");
        };
        assert!(metrics.judge(&asked).is_err(), "{wrong}");
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let metrics = Metrics::of_the_operator();
    let objects = render("full");
    let map = objects.iter().find(|object| kind(object) == "ConfigMap").unwrap();
    let text = map["data"]["braid-operator.json"].as_str().unwrap();
    let dashboard: Value = serde_json::from_str(text).unwrap();
    let mut identities = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(
            identities.insert(panel["id"].as_u64().unwrap()),
            "{title}: its id is another's"
        );
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            // What Grafana fills in.
            let filled = expression.replace("$__rate_interval", "5m").replace("$__range", "1h");
            metrics.check(title, &filled);
        }
    }
    assert!(identities.len() > 5);
}

#[test]
fn every_alert_is_explained_and_pointed_to() {
    let page = fs::read_to_string(repository("docs/kubernetes/alerts.md")).unwrap();
    let explained: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let rules = rules();
    let mut told = BTreeSet::new();
    for alert in alerts(&rules) {
        let name = alert["alert"].as_str().unwrap();
        assert!(told.insert(name), "{name} is there twice");
        let anchor = format!("https://example.com/alerts#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook_url"], anchor);
        assert_eq!(alert["labels"]["team"], "platform");
    }
    assert_eq!(explained, told);
}

/// The table of metrics says what there is.
#[test]
fn every_metric_is_documented() {
    let page = fs::read_to_string(repository("docs/kubernetes/alerts.md")).unwrap();
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `braid_operator_")?.split('`').next())
        .collect();
    let described: Vec<String> = METRICS
        .iter()
        .map(|metric| {
            let total = if metric.kind == MetricKind::Counter {
                "_total"
            } else {
                ""
            };
            let labels = metric.labels.join(",");
            let labels = if labels.is_empty() {
                labels
            } else {
                format!("{{{labels}}}")
            };
            format!("{}{total}{labels}", metric.name)
        })
        .collect();
    assert_eq!(documented, described.iter().map(String::as_str).collect());
    // And what is described is what is shown.
    let mut registry = Registry::default();
    Counters::default().register(&mut registry);
    let shown = format!("{registry:?}");
    assert_eq!(METRICS.len(), shown.matches("Descriptor { name: ").count(), "{shown}");
    for metric in METRICS {
        assert!(
            shown.contains(&format!("Descriptor {{ name: \"{}\"", metric.name)),
            "{}",
            metric.name
        );
    }
}

/// A cluster without the Prometheus operator's kinds must be able to take the release, and its people must hear of it.
#[test]
fn what_the_cluster_does_not_know_is_left_out() {
    let switches = [
        "--set",
        "metrics.serviceMonitor.enabled=true",
        "--set",
        "metrics.prometheusRule.enabled=true",
    ];
    let monitoring = |objects: &[Value]| {
        objects
            .iter()
            .filter(|it| it["apiVersion"] == "monitoring.coreos.com/v1")
            .count()
    };
    let with = objects(&printed(template().args(switches)));
    assert_eq!(2, monitoring(&with));
    let mut without = crate::helm::helm();
    without
        .args(["template", "braid"])
        .arg(repository("charts/braid"))
        .args(switches);
    assert_eq!(0, monitoring(&objects(&printed(&mut without))));
}
