//! Folded results as files of data.

use std::{fmt::Write as _, fs};

use braid_e2e::Home;
use serde_json::{Value, json};

/// Sums by key, written once and read by a later step; compared with what awk says.
#[test]
fn a_later_step_reads_the_results_of_an_earlier_one_by_key() {
    let home = Home::default();
    let mut sales = String::from("shop,revenue\n");
    for n in 0..500 {
        writeln!(sales, "s{},{}.{:02}", n % 7, n % 13, n % 100).unwrap();
    }
    home.write("sales.csv", sales);
    let add = r#"awk -F, 'NR > 1 { sum[$1] += int($2 * 100 + 0.5); count[$1]++ } END {
        printf "{\"rows\": %d, \"revenue\": {", NR - 1
        for (shop in sum) { printf "%s\"%s\": \"%d.%02d\"", comma, shop, sum[shop] / 100, sum[shop] % 100; comma = ", " }
        printf "}, \"orders\": {"; comma = ""
        for (shop in count) { printf "%s\"%s\": %d", comma, shop, count[shop]; comma = ", " }
        printf "}}" }' > "$BRAID_RESULTS""#;
    let spec = json!({
        "data": [
            {"name": "sales", "files": {"url": "sales.csv", "format": "CSV"}},
            {"name": "report", "files": {"url": "report", "format": "JSONLines"}},
            {"name": "none", "files": {"url": "none"}},
        ],
        "steps": [
            {"name": "lines", "over": {"data": "report", "split": {"rows": 1}}, "run": {"script": r#"printf '{"lines": 1}' > "$BRAID_RESULTS""#},
             "results": [{"name": "lines", "reduce": "Sum"}]},
            {"name": "by-shop", "over": {"data": "sales", "split": {"rows": 50}}, "run": {"script": add},
             "results": [
                {"name": "rows", "reduce": "Sum"},
                {"name": "revenue", "type": "Decimal", "reduce": "Sum", "keyed": true, "maxKeys": 100},
                {"name": "orders", "reduce": "Sum", "keyed": true, "maxKeys": 100},
             ],
             "emit": {"to": "report", "when": "results.rows > 0"}},
            {"name": "few", "run": {"script": r#"printf '{"rows": 3}' > "$BRAID_RESULTS""#},
             "results": [{"name": "rows", "reduce": "Sum"}], "emit": {"to": "none", "when": "results.rows > 3"}},
        ],
    });
    let ended = home.run_spec("report", &spec).exits(0);
    assert_eq!(json!(8), ended.results("lines")["lines"]);
    let text = fs::read_to_string(home.path("report/by-shop.jsonl")).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!({"results": {"rows": 500}}), rows[0]);
    for row in &rows[1..] {
        let shop = row["key"].as_str().unwrap();
        let awk = |what: &str| {
            home.shell(&format!(
                "awk -F, '$1 == \"{shop}\" {{ sum += $2; n++ }} END {{ print {what} }}' sales.csv"
            ))
        };
        let (sum, orders): (f64, Value) = (awk("sum").parse().unwrap(), awk("n").parse::<u64>().unwrap().into());
        let revenue: f64 = row["results"]["revenue"].as_str().unwrap().parse().unwrap();
        assert!((sum - revenue).abs() < 0.001, "{shop}: {sum} {revenue}");
        assert_eq!(orders, row["results"]["orders"], "{shop}");
    }
    assert_eq!(8, rows.len());
    assert!(!home.path("report/.braid/attempts").exists());
    assert!(!home.path("none/few.jsonl").exists());

    // Never replaced.
    let again = home.workflow("again", &spec);
    let ended = home.run(&again, &[]).exits(1);
    let stopping = &ended.step("by-shop")["stopping"];
    assert_eq!("OutputExists", stopping["reason"], "{ended:?}");
    assert_eq!(text, fs::read_to_string(home.path("report/by-shop.jsonl")).unwrap());
}
