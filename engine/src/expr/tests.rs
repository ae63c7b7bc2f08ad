#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{collections::BTreeMap, time::Instant};

use braid_crds::workflow::ParamType;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn scope() -> Scope {
    let mut scope = Scope::default();
    scope.params.insert("year".into(), json!(2013));
    scope.params.insert("ratio".into(), json!(0.5));
    scope.params.insert("name".into(), json!("a b"));
    scope.params.insert("list".into(), json!([1, 2, 3]));
    scope.params.insert("huge".into(), json!(u64::MAX));
    let results: BTreeMap<String, Given> = [
        ("rows".to_owned(), json!(10)),
        ("big".to_owned(), json!("9007199254740993")),
        ("bigger".to_owned(), json!("170141183460469231731687303715884105727")),
        ("top".to_owned(), json!({"AA": 3, "UA": 1})),
    ]
    .map(|(name, value)| (name, Given::from(value)))
    .into();
    let step = StepScope {
        phase: "Succeeded".into(),
        succeeded: 7,
        failed: 2,
        results,
    };
    scope.steps.insert("sign-off".into(), step);
    scope.workflow.name = "w".into();
    scope
}

fn names() -> Names {
    let scope = scope();
    Names {
        params: scope.params.keys().cloned().collect(),
        steps: [
            (
                "sign-off".to_owned(),
                StepNames {
                    results: ["rows", "big", "bigger", "top", "absent"].map(String::from).into(),
                    keyed: ["top".to_owned()].into(),
                    hidden: None,
                },
            ),
            (
                "later".to_owned(),
                StepNames {
                    hidden: Some("add it to after".into()),
                    ..StepNames::default()
                },
            ),
        ]
        .into(),
        types: [
            ("year".to_owned(), ParamType::Integer),
            ("name".to_owned(), ParamType::String),
            ("list".to_owned(), ParamType::List),
        ]
        .into(),
        own: None,
    }
}

#[test]
fn evaluates() {
    for (text, expected) in [
        ("params.year + 1", json!(2014)),
        ("params.ratio * 2.0", json!(1)),
        ("params.ratio * 3.0", json!(1.5)),
        ("steps.sign_off.results.rows * 2", json!(20)),
        ("steps['sign-off'].results.rows", json!(10)),
        (
            "steps[\"sign-off\"].phase == 'Succeeded' && steps.sign_off.failed == 2",
            json!(true),
        ),
        ("steps.sign_off.results.top", json!({"AA": 3, "UA": 1})),
        ("steps.sign_off.results.top.AA + 1", json!(4)),
        ("steps.sign_off.results.big + 1", json!("9007199254740994")),
        (
            "steps.sign_off.results.bigger",
            json!("170141183460469231731687303715884105727"),
        ),
        ("params.list.map(x, x * 2)", json!([2, 4, 6])),
        ("params.list.filter(x, x > 1).size()", json!(2)),
        ("params.list.exists(x, params.list.all(y, y <= x))", json!(true)),
        ("{'b': 1, 'a': [true, null]}", json!({"a": [true, null], "b": 1})),
        ("has(steps.sign_off.results.absent) ? 1 : 0", json!(0)),
        ("workflow.name + '!'", json!("w!")),
        ("params.name.matches('^a')", json!(true)),
        ("'é' + string(params.year)", json!("é2013")),
        ("type(params.year) == int", json!(true)),
        ("int(2.9) + int('3')", json!(5)),
        ("-params.year - -1", json!(-2012)),
        ("2 in params.list", json!(true)),
    ] {
        assert_eq!(Ok(expected), evaluate(text, &scope()), "{text}");
        assert_eq!(Vec::<Finding>::new(), check(text, &names(), Wanted::Anything), "{text}");
    }
}

/// JSON does not tell 3 from 3.0, nor a decimal from a text; the type of a result does.
#[test]
fn results_are_what_their_type_says() {
    use braid_crds::status::{StepResult, ValueType};
    let result = |name: &str, kind, value| StepResult {
        name: name.into(),
        value: Some(value),
        kind,
        ..StepResult::default()
    };
    let results = [
        result("mean", Some(ValueType::Number), json!(3)),
        result("large", Some(ValueType::Number), json!("100000000000000000")),
        result("delay", Some(ValueType::Number), json!({"p50": 4, "p99": 120.5})),
        result("revenue", Some(ValueType::Decimal), json!("9.90")),
        result("last", Some(ValueType::Json), json!("2013")),
        result("rows", Some(ValueType::Integer), json!("9007199254740993")),
        result(
            "worst",
            Some(ValueType::Integer),
            json!({"value": 7, "carry": {"flight": "1545", "n": 2}}),
        ),
        result(
            "dearest",
            Some(ValueType::Decimal),
            json!({"value": "7.5", "carry": {"flight": "1545", "n": 2}}),
        ),
        result("old", None, json!("9007199254740993")),
    ];
    let mut scope = Scope::default();
    let step = StepScope {
        results: Given::of(&results),
        ..StepScope::default()
    };
    scope.steps.insert("a".into(), step);
    for (text, expected) in [
        ("steps.a.results.mean / 2.0", json!(1.5)),
        ("steps.a.results.large > 1.5", json!(true)),
        ("steps.a.results.delay.p50 + steps.a.results.delay.p99", json!(124.5)),
        (
            "steps.a.results.revenue > 9.89 && steps.a.results.revenue < 9.91",
            json!(true),
        ),
        ("steps.a.results.revenue", json!("9.90")),
        ("steps.a.results.last + '!'", json!("2013!")),
        ("steps.a.results.rows + 1", json!("9007199254740994")),
        ("steps.a.results.old + 1", json!("9007199254740994")),
        ("steps.a.results.worst.value + steps.a.results.worst.carry.n", json!(9)),
        ("steps.a.results.worst.carry.flight + '!'", json!("1545!")),
        ("steps.a.results.dearest.value * 2.0", json!(15)),
        (
            "steps.a.results.dearest.carry.flight.size() + steps.a.results.dearest.carry.n",
            json!(6),
        ),
    ] {
        assert_eq!(Ok(expected), evaluate(text, &scope), "{text}");
    }
}

#[test]
fn says_why_there_is_no_value() {
    for (text, expected) in [
        ("steps.sign_off.results.absent", "step sign-off gave no result absent"),
        (
            "steps.sign_off.results.absent > 3",
            "step sign-off gave no result absent",
        ),
        ("steps.sign_off.results.bigger + 1", "more than the 64 bits"),
        ("params.huge + 1", "params.huge is 18446744073709551615"),
        ("9223372036854775807 + params.year", "Overflow"),
        ("1 / (params.year - 2013)", "by zero"),
        ("params.name + 1", "Unsupported binary operator"),
        ("params.list[7]", "out of bounds"),
        ("double(1) / 0.0", "no finite number"),
    ] {
        let error = evaluate(text, &scope()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn finds_wrong_names() {
    for (text, rule, column, help) in [
        ("params.yaer > 1", Rule::UnknownParam, 1, "did you mean \"year\"?"),
        ("1 < params['yaer']", Rule::UnknownParam, 5, "did you mean \"year\"?"),
        ("'é' == params.nme", Rule::UnknownParam, 8, "did you mean \"name\"?"),
        (
            "steps.signoff.failed",
            Rule::UnknownStep,
            1,
            "did you mean \"sign_off\"?",
        ),
        (
            "steps.sign-off.failed > 0",
            Rule::Subtraction,
            1,
            "write steps.sign_off",
        ),
        ("1 + steps.sign-of.failed", Rule::Subtraction, 5, "write steps.sign_off"),
        ("steps.later.failed", Rule::HiddenStep, 1, "add it to after"),
        (
            "steps.sign_off.results.row",
            Rule::UnknownResult,
            1,
            "did you mean \"rows\"?",
        ),
        (
            "steps.sign_off.result.rows",
            Rule::UnknownField,
            1,
            "did you mean \"results\"?",
        ),
        ("workflow.nam", Rule::UnknownField, 1, "did you mean \"name\"?"),
        ("year > 1", Rule::UnknownVariable, 1, "did you mean params.year?"),
        ("param.year > 1", Rule::UnknownVariable, 1, "did you mean \"params\"?"),
        ("params", Rule::WholeVariable, 1, "write the name out"),
        ("params[params.name]", Rule::WholeVariable, 1, "write the name out"),
        ("steps.sign_off", Rule::WholeVariable, 1, "name a field"),
        ("sizes(params.list)", Rule::UnknownFunction, 6, "did you mean \"size\"?"),
        ("params.name.upper()", Rule::UnknownFunction, 18, "the functions are"),
        ("Foo{a: 1}", Rule::Message, 4, "write a map"),
        ("1 +", Rule::Syntax, 4, ""),
        ("", Rule::Syntax, 1, ""),
        ("params.year = 2", Rule::Syntax, 13, ""),
        ("(1", Rule::Syntax, 3, ""),
        ("1)", Rule::Syntax, 2, ""),
        ("'abc", Rule::Syntax, 1, ""),
        ("§", Rule::Syntax, 1, ""),
    ] {
        let findings = check(text, &names(), Wanted::Anything);
        assert_eq!(1, findings.len(), "{text}: {findings:?}");
        let finding = &findings[0];
        assert_eq!((rule, column), (finding.rule, finding.column), "{text}: {finding:?}");
        assert!(
            finding.help.clone().unwrap_or_default().contains(help),
            "{text}: {finding:?}"
        );
    }
}

#[test]
fn finds_types_that_cannot_fit() {
    use Wanted::{Anything, Condition, Items};
    for (text, wanted, column, message) in [
        (
            "params.year > '2012'",
            Anything,
            13,
            "a number and a text have no order",
        ),
        ("params.name == 3", Anything, 13, "a text and a number are never equal"),
        ("1 + params.list", Anything, 3, "cannot be added"),
        ("params.name * 2", Anything, 13, "cannot be computed with"),
        ("params.year && true", Anything, 7, "&& and || are of conditions"),
        (
            "params.year",
            Condition,
            1,
            "must be true or false, and this is a number",
        ),
        ("steps.sign_off.failed", Condition, 1, "this is a number"),
        ("steps.sign_off.results.top", Condition, 1, "this is a map"),
        ("size(params.list)", Condition, 1, "this is a number"),
        (
            "params.year > 1",
            Items,
            1,
            "must be a list or a map, and this is true or false",
        ),
        ("params.name", Items, 1, "this is a text"),
        (
            "steps.sign_off.phase == 'Suceeded'",
            Condition,
            25,
            "there is no phase \"Suceeded\"",
        ),
        ("'Done' != workflow.phase", Condition, 1, "there is no phase \"Done\""),
    ] {
        let findings = check(text, &names(), wanted);
        assert_eq!(1, findings.len(), "{text}: {findings:?}");
        let found = (findings[0].rule, findings[0].column);
        assert_eq!((Rule::Type, column), found, "{text}: {findings:?}");
        assert!(findings[0].message.contains(message), "{text}: {findings:?}");
    }
    for (text, wanted) in [
        ("params.year > 2012 && params.ratio < 'x'", Condition),
        ("steps.sign_off.results.rows > 0", Condition),
        ("steps.sign_off.results.rows", Condition),
        ("has(steps.sign_off.results.rows)", Condition),
        ("params.list.all(x, x > 0)", Condition),
        ("!(2 in params.list)", Condition),
        ("workflow.failed || workflow.failures.size() > 0", Condition),
        ("params.year > 1 ? params.list : []", Items),
        ("params.list.map(x, {'n': x})", Items),
        ("steps.sign_off.results.top", Items),
    ] {
        assert_eq!(Vec::<Finding>::new(), check(text, &names(), wanted), "{text}");
    }
}

#[test]
fn own_results_are_read_only_where_a_step_looks_at_itself() {
    let mut names = names();
    let help = |names: &Names, text| check(text, names, Wanted::Condition)[0].help.clone().unwrap();
    assert!(help(&names, "results.rows > 1").contains("steps.NAME.results.RESULT"));
    assert!(help(&names, "item > 1").contains("BRAID_ITEM"));
    names.own = Some(["rows".to_owned()].into());
    assert_eq!(
        Vec::<Finding>::new(),
        check("results.rows > 1", &names, Wanted::Condition)
    );
    assert!(help(&names, "results.row > 1").contains("did you mean \"rows\""));
    let mut scope = scope();
    let not_yet = ExprError::NotYet { result: "rows".into() };
    assert_eq!(Err(not_yet.clone()), holds("results.rows > 9", &scope));
    assert_eq!(Err(not_yet), holds("results.rows == 9", &scope));
    assert_eq!(Ok(false), holds("has(results.rows) && results.rows > 9", &scope));
    scope.own.insert("rows".into(), json!("9007199254740993").into());
    assert_eq!(Ok(true), holds("results.rows > 9007199254740992", &scope));
}

#[test]
fn the_run_tells_what_failed() {
    let mut scope = scope();
    assert_eq!(Ok(false), holds("workflow.failed", &scope));
    scope.workflow.failed = true;
    scope.workflow.message = "a: it broke".into();
    scope.workflow.failures = vec![Failure {
        step: "a".into(),
        reason: "Exit1".into(),
        message: "it broke".into(),
    }];
    for text in [
        "workflow.failed",
        "workflow.message == 'a: it broke'",
        "workflow.failures[0].reason == 'Exit1'",
        "workflow.failures.exists(f, f.step == 'a')",
    ] {
        assert_eq!(Ok(true), holds(text, &scope), "{text}");
        assert_eq!(
            Vec::<Finding>::new(),
            check(text, &names(), Wanted::Condition),
            "{text}"
        );
    }
}

#[test]
fn names_of_macros_are_known() {
    assert_eq!(
        Vec::<Finding>::new(),
        check("params.list.all(steps, steps > 0)", &names(), Wanted::Anything)
    );
    assert_eq!(1, check("params.list.all(x, y > 0)", &names(), Wanted::Anything).len());
}

#[test]
fn templates() {
    for (text, expected) in [
        ("plain $ text $x", "plain $ text $x"),
        ("$(params.year)", "2013"),
        ("$(params.name)", "a b"),
        ("$(params.list)", "[1,2,3]"),
        ("flights/$(params.year)/*.csv", "flights/2013/*.csv"),
        ("$$(params.year) $(params.year + 1)", "$(params.year) 2014"),
        ("$(')' + params.name + \"(\")", ")a b("),
        ("$((1 + 2) * 3)$(workflow.name)", "9w"),
        ("é$(string(params.ratio))", "é0.5"),
    ] {
        assert_eq!(
            expected,
            Template::parse(text).unwrap().render(&scope()).unwrap(),
            "{text}"
        );
    }
    for (text, column) in [
        ("ab$(params.year", 3),
        ("é$(1 +)", 7),
        ("$('a)", 1),
        ("$(params.year]", 14),
    ] {
        assert_eq!(Some(column), Template::parse(text).unwrap_err().column(), "{text}");
    }
    let findings = Template::parse("é$(params.yaer)").unwrap().check(&names());
    assert_eq!(4, findings[0].column);
}

#[test]
fn hostile_texts_are_refused_before_they_are_parsed() {
    let deep = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    for (text, rule) in [
        (deep("(", ")", 17), Rule::Depth),
        (deep("[", "]", 600), Rule::Depth),
        (deep("{1:", "}", 300), Rule::Depth),
        (deep("[{1:(", ")}]", 6), Rule::Depth),
        (format!("{}true", "!".repeat(17)), Rule::Depth),
        (format!("{}1", "- ".repeat(900)), Rule::Depth),
        (format!("{}1", "true ? 1 : ".repeat(17)), Rule::Depth),
        (format!("params{}", ".a".repeat(17)), Rule::Depth),
        (format!("params{}", "[0]".repeat(17)), Rule::Depth),
        (format!("params{}", "()".repeat(17)), Rule::Depth),
        (format!("1{}", "+1".repeat(64)), Rule::Terms),
        (format!("[{}]", "[],".repeat(70)), Rule::Terms),
        (format!("'{}'", "a".repeat(2048)), Rule::Length),
        ("[1].all(a, [1].all(b, [1].all(c, true)))".to_owned(), Rule::Macros),
    ] {
        let begun = check(&text, &names(), Wanted::Anything);
        assert_eq!(
            Some(rule),
            begun.first().map(|finding| finding.rule),
            "{text}: {begun:?}"
        );
    }
}

#[test]
fn the_deepest_and_widest_allowed_is_parsed() {
    for text in [
        format!("{}1{}", "(".repeat(16), ")".repeat(16)),
        format!("{}1{}", "[".repeat(16), "]".repeat(16)),
        format!("{}true", "!".repeat(16)),
        format!("{}1", "true ? 1 : ".repeat(16)),
        format!("1{}", "+1".repeat(63)),
        format!("true{}", "&&true".repeat(63)),
        "[1,2].all(a, [1,2].all(b, a + b > 0))".to_owned(),
    ] {
        let expression = Expression::parse(&text);
        assert!(expression.is_ok(), "{text}: {expression:?}");
    }
}

#[test]
fn work_is_bounded() {
    let mut scope = scope();
    scope.params.insert("list".into(), json!(vec![1; 2000]));
    scope.params.insert("text".into(), json!("x".repeat(200_000)));
    for text in [
        "params.list.all(x, params.list.all(y, x == y))",
        "params.list.map(x, params.list.map(y, [x, y])).size()",
        "params.list.map(x, params.text + params.text).size()",
        "params.text + params.text + params.text + params.text + params.text + params.text",
        "(params.list + params.list).exists(x, (params.list + params.list).exists(y, y + x == 3))",
        "[params.text + params.text].map(x, x + x).map(x, x + x).map(x, x + x).map(x, x + x)",
    ] {
        assert_eq!(Err(ExprError::TooMuchWork), evaluate(text, &scope), "{text}");
    }
    assert_eq!(Ok(json!(true)), evaluate("params.list.all(x, x == 1)", &scope));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever the text, there is an answer: no panic, no endless loop.
    #[test]
    fn any_text_has_an_answer(text in "\\PC{0,60}") {
        let _ = check(&text, &names(), Wanted::Anything);
        let _ = evaluate(&text, &scope());
        let _ = Template::parse(&text).map(|template| template.render(&scope()));
    }

    /// The same for texts that are made of CEL's words, which get further.
    #[test]
    fn any_words_have_an_answer(words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..24)) {
        let text = words.concat();
        let begun = Instant::now();
        let _ = check(&text, &names(), Wanted::Anything);
        let _ = evaluate(&text, &scope());
        prop_assert!(begun.elapsed().as_secs() < 20, "{text}");
    }
}

const WORDS: [&str; 60] = [
    "params",
    ".",
    "year",
    "list",
    "name",
    "ratio",
    "steps",
    "sign_off",
    "results",
    "rows",
    "top",
    "workflow",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    "+",
    "-",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    ">=",
    "&&",
    "||",
    "!",
    " in ",
    "1",
    "0",
    "9223372036854775807",
    "-9223372036854775808",
    "1.5",
    "1e308",
    "2u",
    "0x1F",
    "'a'",
    "\"\\u00e9\"",
    "r'\\'",
    "b'\\xff'",
    "'''x'''",
    "true",
    "null",
    "has(",
    ".all(x,",
    ".map(x,",
    ".filter(x,",
    "x",
    "size(",
    "int(",
    "string(",
    "matches(",
    "type(",
    "double(",
];
