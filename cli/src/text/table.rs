//! Tables by columns of spaces.

use super::width;

/// Where a column's cells are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells, padded to their columns.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with such columns.
    pub fn new(columns: &[Align]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Cells beyond the columns are left out.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter().take(self.columns.len());
        self.rows.push(cells.map(Into::into).collect());
    }

    /// The lines, each behind `indent`, without spaces at their ends.
    pub fn lines(&self, indent: &str) -> Vec<String> {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = self.rows.iter().filter_map(|row| row.get(at));
                cells.map(|cell| width(cell)).max().unwrap_or(0)
            })
            .collect();
        let line = |row: &Vec<String>| {
            let mut line = indent.to_owned();
            for ((cell, align), columns) in row.iter().zip(&self.columns).zip(&widths) {
                let pad = " ".repeat(columns.saturating_sub(width(cell)));
                match align {
                    Align::Left => line.extend([cell, &pad, "  "]),
                    Align::Right => line.extend([&pad, cell.as_str(), "  "]),
                }
            }
            line.truncate(line.trim_end().len());
            line
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[Align::Left, Align::Right, Align::Left]);
        table.row(["STEP", "FAILED", "X"]);
        table.row(["é", "1,000", ""]);
        table.row(["\u{1b}[1mbold\u{1b}[0m", "12", "end"]);
        assert_eq!(
            vec![
                "  STEP  FAILED  X",
                "  é      1,000",
                "  \u{1b}[1mbold\u{1b}[0m      12  end",
            ],
            table.lines("  ")
        );
    }
}
