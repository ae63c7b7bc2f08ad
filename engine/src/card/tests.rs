#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::json;

use super::*;

fn workflow() -> WorkflowSpec {
    serde_json::from_value(json!({
        "params": [{"name": "year", "default": 2013}, {"name": "root", "value": "/data"}],
        "data": [{"name": "flights", "files": {"url": "$(params.root)/$(params.year)/*.csv", "format": "Text"}}],
        "steps": [{
            "name": "count",
            "over": {"data": "flights", "split": {"bytes": "1Ki"}},
            "run": {"command": ["wc", "$(BRAID_INPUT)"], "env": [{"name": "NEXT", "value": "$(params.year + 1)"}]},
            "results": [{"name": "words", "from": "w", "reduce": "Sum"}, {"name": "top", "reduce": "Sum", "keyed": true}],
            "partitionTimeout": "90s"
        }]
    }))
    .unwrap()
}

fn scope(spec: &WorkflowSpec) -> Scope {
    Scope {
        params: params::resolve(&spec.params).unwrap(),
        ..Scope::default()
    }
}

#[test]
fn freezes_everything() {
    let spec = workflow();
    let plan = PlanRef {
        chunks: 2,
        ..PlanRef::default()
    };
    let card = build(&spec, &spec.steps[0], Some(&plan), &scope(&spec)).unwrap();
    let expected = json!({
        "digest": card.digest,
        "command": ["wc", "$(BRAID_INPUT)"],
        "env": [
            {"name": "NEXT", "value": "2014"},
            {"name": "BRAID_PARAM_ROOT", "value": "/data"},
            {"name": "BRAID_PARAM_YEAR", "value": "2013"}
        ],
        "concurrency": 1,
        "source": {"files": {"url": "/data/2013/*.csv", "files": 0, "bytes": 1024, "chunks": 2}},
        "results": [
            {"name": "words", "from": "w", "reduce": "Sum", "keyed": false, "maxKeys": 0},
            {"name": "top", "from": "top", "reduce": "Sum", "keyed": true, "maxKeys": reduce::MAX_KEYS}
        ],
        "attempts": 1,
        "backoffInitialMillis": 1000,
        "backoffMaxMillis": 60000,
        "partitionTimeoutMillis": 90000
    });
    assert_eq!(expected, serde_json::to_value(&card).unwrap());
    assert!(is_intact(&card));
}

#[test]
fn what_is_saved_and_emitted_is_frozen_too() {
    let mut spec = workflow();
    spec.data
        .push(serde_json::from_value(json!({"name": "sums", "files": {"url": "sums/$(params.year)"}})).unwrap());
    spec.steps[0].emit = Some(serde_json::from_value(json!({"to": "sums", "when": "results.words > 0"})).unwrap());
    for (checkpoint, bytes) in [(json!({}), 64 << 20), (json!({"size": "1Ki"}), 1024)] {
        spec.steps[0].run.checkpoint = Some(serde_json::from_value(checkpoint).unwrap());
        let card = build(&spec, &spec.steps[0], None, &scope(&spec)).unwrap();
        assert_eq!(Some(bytes), card.checkpoint);
        let emit = card.emit.unwrap();
        assert_eq!(("sums", "sums/2013"), (emit.data.as_str(), emit.url.as_str()));
    }
    assert_eq!(Some("count"), writer(&spec, "sums").map(|step| step.name.as_str()));
    assert!(writer(&spec, "flights").is_none());
}

#[test]
fn the_digest_names_the_bytes() {
    let spec = workflow();
    let card = build(&spec, &spec.steps[0], None, &scope(&spec)).unwrap();
    assert_eq!(card, build(&spec, &spec.steps[0], None, &scope(&spec)).unwrap());
    assert_eq!(71, card.digest.0.len());
    let mut other = spec.clone();
    other.params[0].value = Some(json!(2014));
    assert_ne!(
        card.digest,
        build(&other, &other.steps[0], None, &scope(&other)).unwrap().digest
    );
    let mut forged = card.clone();
    forged.command.push("--more".into());
    assert!(!is_intact(&forged));
}

#[test]
fn numbers_items_and_nothing() {
    let mut spec = workflow();
    spec.steps[0].over = serde_json::from_value(json!({"range": {"start": 5, "end": 9, "step": 2}})).unwrap();
    let card = build(&spec, &spec.steps[0], None, &scope(&spec)).unwrap();
    assert_eq!(Some(RangeSource { start: 5, step: 2 }), card.source.range);
    spec.steps[0].over = serde_json::from_value(json!({"items": [1, 2]})).unwrap();
    let card = build(&spec, &spec.steps[0], None, &scope(&spec)).unwrap();
    assert_eq!(Some(ItemsSource { chunks: 0 }), card.source.items);
    spec.steps[0].over = None;
    assert_eq!(
        Source::default(),
        build(&spec, &spec.steps[0], None, &scope(&spec)).unwrap().source
    );
}

#[test]
fn refuses_what_does_not_fit() {
    let refuse = |change: &dyn Fn(&mut WorkflowSpec)| {
        let mut spec = workflow();
        change(&mut spec);
        build(&spec, &spec.steps[0], None, &scope(&spec)).unwrap_err()
    };
    let error = refuse(&|spec| spec.steps[0].run.script = Some("x".repeat(24_000) + &"\"".repeat(8_000)));
    assert!(
        matches!(error, CardError::TooLarge { bytes } if bytes > 32_768),
        "{error}"
    );
    let error = refuse(&|spec| spec.params[1].value = Some(json!("x".repeat(20_000))));
    assert!(matches!(error, CardError::EnvTooLong { bytes: 20_000, .. }), "{error}");
    let error = refuse(&|spec| spec.params[1].value = Some(json!("a\0b")));
    assert!(matches!(error, CardError::Nul { .. }), "{error}");
    let error = refuse(&|spec| spec.data[0].files.url = "$('')".into());
    assert!(matches!(error, CardError::BadUrl { bytes: 0, .. }), "{error}");
    let error = refuse(&|spec| spec.data[0].name = "other".into());
    assert_eq!(CardError::UnknownData("flights".into()), error);
    let error = refuse(&|spec| spec.steps[0].run.env[0].value = "$(1 / 0)".into());
    assert!(matches!(error, CardError::Env { .. }), "{error}");
}

#[test]
fn waits_have_defaults() {
    let waits = |initial: Option<&str>, max: Option<&str>| {
        let written = braid_crds::workflow::Backoff {
            initial: initial.map(|text| text.parse().unwrap()),
            max: max.map(|text| text.parse().unwrap()),
        };
        backoff(Some(&Retry {
            attempts: None,
            backoff: Some(written),
            ..Retry::default()
        }))
    };
    assert_eq!((1_000, 60_000), backoff(None));
    assert_eq!((1_000, 60_000), waits(None, None));
    assert_eq!((10, 60_000), waits(Some("10ms"), None));
    assert_eq!((500, 500), waits(None, Some("500ms")));
}
