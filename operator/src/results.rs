//! Results of runs as metrics: those that say `metric: true`, for as long as the run's object is there.
//!
//! They are read out of the watch when somebody asks, so nothing has to be kept, corrected or removed: what the API server has
//! forgotten is not shown, and an operator that does not lead shows none. Labels are the names of the run's namespace, of the run,
//! the step and the result, and of a quantile; nothing that user code gives becomes one.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use braid_crds::{
    Workflow,
    status::StepResult,
    workflow::{Reduce, ResultSpec},
};
use kube::{ResourceExt as _, runtime::reflector::Store};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Registry,
};
use serde_json::Value;

/// The metric.
pub const RESULT: &str = "braid_workflow_result";
/// What there was no room for.
pub const LEFT_OUT: &str = "braid_workflow_results_left_out";
/// Series that are shown at most.
const SERIES: usize = 10_000;

/// One number and its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// `namespace`, `workflow`, `step`, `result`, and of quantiles `quantile`.
    pub labels: Vec<(&'static str, String)>,
    /// The number; of `All` and `Any` 1 or 0.
    pub value: f64,
}

/// Caches of runs, each with the number by which it is taken away again.
type Caches = Vec<(u64, Store<Workflow>)>;

/// The runs whose results are shown.
#[derive(Clone, Default)]
pub struct Results {
    runs: Arc<Mutex<Caches>>,
    next: Arc<AtomicU64>,
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").finish_non_exhaustive()
    }
}

impl Results {
    /// Shows the results of these runs for as long as the answer is kept.
    #[must_use]
    pub fn of(&self, runs: Store<Workflow>) -> Shown {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((id, runs));
        Shown {
            results: self.clone(),
            id,
        }
    }

    /// Makes them known to a registry, which shows them under their own names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// The runs of which something is shown, in the order of their names.
    fn runs(&self) -> Vec<Arc<Workflow>> {
        let stores = self.runs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut runs: Vec<Arc<Workflow>> = stores
            .iter()
            .flat_map(|(_, store)| store.state_filter(|run| declared(run).next().is_some()))
            .collect();
        runs.sort_by_cached_key(|run| (run.namespace(), run.name_any()));
        runs
    }
}

impl Collector for Results {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let series: Vec<Series> = self.runs().iter().flat_map(|run| series(run)).collect();
        let left_out = series.len().saturating_sub(SERIES);
        if !series.is_empty() {
            let help = "The value of a result of a run, as far as the run is";
            let mut family = encoder.encode_descriptor(RESULT, help, None, MetricType::Gauge)?;
            for series in series.iter().take(SERIES) {
                ConstGauge::new(series.value).encode(family.encode_family(&series.labels)?)?;
            }
        }
        let help = "Results of runs that are not shown, because there are too many";
        let gauge = ConstGauge::new(u32::try_from(left_out).unwrap_or(u32::MAX));
        gauge.encode(encoder.encode_descriptor(LEFT_OUT, help, None, MetricType::Gauge)?)
    }
}

/// Results that are shown; they are not any more once this is dropped.
#[derive(Debug)]
pub struct Shown {
    results: Results,
    id: u64,
}

impl Drop for Shown {
    fn drop(&mut self) {
        let mut runs = self.results.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|(id, _)| *id != self.id);
    }
}

/// The results of a run that are metrics, by step.
fn declared(run: &Workflow) -> impl Iterator<Item = (&str, &ResultSpec)> {
    let of_step = |step| {
        let step: &braid_crds::workflow::Step = step;
        step.results.iter().map(|result| (step.name.as_str(), result))
    };
    let results = run.spec.steps.iter().flat_map(of_step);
    // What a schema refuses may be stored all the same, by an older definition: a key must never become a label.
    results.filter(|(_, result)| result.metric && !result.keyed)
}

/// What a run shows.
#[must_use]
pub fn series(run: &Workflow) -> Vec<Series> {
    let mut shown = Vec::new();
    for (step, spec) in declared(run) {
        let status = run.status.iter().flat_map(|status| &status.steps);
        let results = status
            .filter(|status| status.name == step)
            .flat_map(|step| &step.results);
        let Some(result) = results.into_iter().find(|result| result.name == spec.name) else {
            continue;
        };
        let labels = vec![
            ("namespace", run.namespace().unwrap_or_default()),
            ("workflow", run.name_any()),
            ("step", step.to_owned()),
            ("result", spec.name.clone()),
        ];
        for (quantile, value) in numbers(spec, result) {
            let mut labels = labels.clone();
            labels.extend(quantile.map(|quantile| ("quantile", quantile)));
            shown.push(Series { labels, value });
        }
    }
    shown
}

/// The numbers of a result, by quantile.
fn numbers(spec: &ResultSpec, result: &StepResult) -> Vec<(Option<String>, f64)> {
    let Some(value) = &result.value else { return Vec::new() };
    if spec.reduce == Reduce::Quantiles {
        // Only those that the spec names: the value is a status, which anybody may have edited.
        let at = |name: &String| Some((Some(name.clone()), number(value.get(name)?)?));
        return spec.at.iter().filter_map(at).collect();
    }
    let value = if spec.carry.is_empty() {
        value
    } else {
        value.get("value").unwrap_or(value)
    };
    number(value).map(|number| (None, number)).into_iter().collect()
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        Value::Bool(holds) => Some(f64::from(u8::from(*holds))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use kube::runtime::{reflector, watcher};
    use serde_json::json;

    use super::*;

    fn run(name: &str, results: &Value, status: &Value) -> Workflow {
        serde_json::from_value(json!({
            "apiVersion": "braid.dev/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": name, "namespace": "team", "uid": name},
            "spec": {"steps": [{"name": "one", "run": {"command": ["true"]}, "results": results}]},
            "status": {"steps": [{"name": "one", "results": status}]},
        }))
        .unwrap()
    }

    fn scraped(results: &Results) -> String {
        let mut registry = Registry::default();
        results.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn results_are_shown_while_their_run_is_there_and_led() {
        let results = Results::default();
        let (store, mut writer) = reflector::store::<Workflow>();
        let shown = results.of(store);
        let declared = json!([
            {"name": "rows", "reduce": "Sum", "metric": true},
            {"name": "hidden", "reduce": "Sum"},
            {"name": "total", "reduce": "Sum", "type": "Decimal", "metric": true},
            {"name": "ok", "reduce": "All", "metric": true},
            {"name": "worst", "reduce": "Max", "carry": ["flight"], "metric": true},
            {"name": "ms", "reduce": "Quantiles", "at": ["p50", "p99_9"], "metric": true},
            {"name": "by", "reduce": "Sum", "keyed": true, "metric": true},
            {"name": "none", "reduce": "Min", "metric": true},
        ]);
        let status = json!([
            {"name": "rows", "value": "9007199254740993", "count": 1},
            {"name": "hidden", "value": 1, "count": 1},
            {"name": "total", "value": "9.90", "type": "Decimal", "count": 1},
            {"name": "ok", "value": true, "count": 1},
            {"name": "worst", "value": {"value": 7, "carry": {"flight": "AA1"}}, "count": 1},
            {"name": "ms", "value": {"p50": 3, "p99_9": 120.5, "p1": 4}, "count": 1},
            {"name": "by", "value": {"a": 1}, "count": 1},
            {"name": "none", "count": 0},
        ]);
        writer.apply_watcher_event(&watcher::Event::Apply(run("w", &declared, &status)));
        let text = scraped(&results);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let of = r#"braid_workflow_result{namespace="team",workflow="w",step="one",result="#;
        assert_eq!(
            lines,
            [
                format!(r#"{of}"rows"}} 9007199254740992.0"#).as_str(),
                &format!(r#"{of}"total"}} 9.9"#),
                &format!(r#"{of}"ok"}} 1.0"#),
                &format!(r#"{of}"worst"}} 7.0"#),
                &format!(r#"{of}"ms",quantile="p50"}} 3.0"#),
                &format!(r#"{of}"ms",quantile="p99_9"}} 120.5"#),
                "braid_workflow_results_left_out 0",
            ]
        );
        writer.apply_watcher_event(&watcher::Event::Delete(run("w", &declared, &status)));
        assert!(!scraped(&results).contains("workflow=\"w\""));
        writer.apply_watcher_event(&watcher::Event::Apply(run("w", &declared, &status)));
        assert!(scraped(&results).contains("workflow=\"w\""));
        drop(shown);
        assert!(!scraped(&results).contains("workflow=\"w\""), "nobody leads");
    }

    #[test]
    fn there_is_an_end_to_what_is_shown() {
        let results = Results::default();
        let (store, mut writer) = reflector::store::<Workflow>();
        let _shown = results.of(store);
        let declared: Vec<Value> = (0..30)
            .map(|n| json!({"name": format!("r{n}"), "reduce": "Sum", "metric": true}))
            .collect();
        let status: Vec<Value> = (0..30)
            .map(|n| json!({"name": format!("r{n}"), "value": n, "count": 1}))
            .collect();
        for name in 0..340 {
            let run = run(&format!("w{name}"), &json!(declared), &json!(status));
            writer.apply_watcher_event(&watcher::Event::Apply(run));
        }
        let text = scraped(&results);
        assert_eq!(SERIES, text.matches("braid_workflow_result{").count());
        assert!(text.contains("braid_workflow_results_left_out 200"));
    }
}
