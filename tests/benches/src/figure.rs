//! Figures: a title that says what they mean, columns, rows; printed as a table, written as JSON.

use serde_json::{Map, Value, json};

/// One measurement's outcome.
#[derive(Debug)]
pub struct Figure {
    /// Its name on the command line.
    pub name: &'static str,
    /// What the numbers mean, and how they were taken.
    pub meaning: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
}

impl Figure {
    /// No rows yet. Units are part of the columns' names.
    pub fn new(name: &'static str, meaning: impl Into<String>, columns: &[&'static str]) -> Self {
        Self {
            name,
            meaning: meaning.into(),
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// A row, in the order of the columns.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Value>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// As JSON: an object for each row.
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let cells = self.columns.iter().map(ToString::to_string).zip(row.iter().cloned());
                Value::Object(cells.collect::<Map<_, _>>())
            })
            .collect();
        json!({"name": self.name, "meaning": self.meaning, "rows": rows})
    }

    /// As a table: texts to the left, numbers to the right.
    pub fn table(&self) -> String {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        let mut lines: Vec<Vec<String>> = vec![self.columns.iter().map(ToString::to_string).collect()];
        lines.extend(self.rows.iter().map(|row| row.iter().map(text).collect()));
        let mut widths = vec![0; self.columns.len()];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        let is_text = |column: usize| {
            let mut cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.any(|cell| matches!(cell, Value::String(_)))
        };
        let mut table = format!("\n{}: {}\n", self.name, self.meaning);
        for line in &lines {
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let width = *width;
                if is_text(column) {
                    table.push_str(&format!("{cell:<width$}  "));
                } else {
                    table.push_str(&format!("{cell:>width$}  "));
                }
            }
            table.truncate(table.trim_end().len());
            table.push('\n');
        }
        table
    }
}

/// The middle one; of an even number, the upper.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// A number with so many digits after the point.
pub fn rounded(value: f64, digits: i32) -> Value {
    let scale = 10_f64.powi(digits);
    let rounded = (value * scale).round() / scale;
    // The whole ones without a point.
    if digits == 0 && rounded.abs() < 9e15 {
        #[allow(clippy::cast_possible_truncation)]
        return json!(rounded as i64);
    }
    json!(rounded)
}
