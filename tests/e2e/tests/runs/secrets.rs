//! What people put into a run is not in its log, however much is logged.

use std::fs;

use braid_e2e::Home;
use serde_json::json;

#[test]
fn nothing_that_a_run_was_given_is_logged() {
    let home = Home::default();
    let env = json!([{"name": "TOKEN", "value": "hunter2-env"}, {"name": "KEY", "value": "$(params.key)"}]);
    // By every way in: literal environment, params, arguments, scripts, items; and what programs say when they fail.
    let spec = json!({
        "params": [{"name": "key", "type": "String", "default": "hunter2-param"}],
        "steps": [
            {
                "name": "fine",
                "over": {"items": ["hunter2-item", {"token": "hunter2-object"}]},
                "run": {
                    "script": "test \"$TOKEN$KEY$1\" = hunter2-envhunter2-paramhunter2-param && echo hunter2-said",
                    "args": ["$(BRAID_PARAM_KEY)", "hunter2-arg"],
                    "env": env,
                },
            },
            {
                "name": "failing", "after": ["fine"],
                "run": {"script": "echo hunter2-stderr >&2; exit 3 # hunter2-script", "env": env},
                "maxFailedPartitions": 1,
            },
            {
                "name": "absent", "after": ["failing"],
                "run": {"command": ["no-such-program", "hunter2-arg"], "env": env},
                "maxFailedPartitions": 1,
            },
        ],
    });
    let manifest = home.workflow("secrets", &spec);
    let ended = home.start_logged(&manifest, &[], Some("trace")).wait();
    assert_eq!(ended.step("fine")["phase"], "Succeeded");
    let log = fs::read_to_string(home.path("stderr")).unwrap();
    assert!(
        log.contains("worker starts") && log.lines().count() > 100,
        "there is hardly a log: {log}"
    );
    let leaks: Vec<&str> = log.lines().filter(|line| line.contains("hunter2")).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}
