//! Text in HTML.

use std::fmt::Write as _;

use braid_crds::status::Phase;

use crate::text::clean;

/// A text as it is, in an element or an attribute: nothing in it is markup.
pub fn text(given: &str, most: usize) -> String {
    let mut escaped = String::with_capacity(given.len());
    for c in clean(given, most).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A row of cells that are markup already; cells of numbers are aligned to the right.
pub fn row(cells: &[(bool, String)]) -> String {
    let mut row = String::from("<tr>");
    for (number, cell) in cells {
        let class = if *number { " class=\"n\"" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(row, "<td{class}>{cell}</td>");
    }
    row.push_str("</tr>\n");
    row
}

/// A table with a heading for each column.
pub fn table(heads: &[(bool, &str)], rows: &str) -> String {
    let mut table = String::from("<div class=\"wide\"><table><thead><tr>");
    for (number, head) in heads {
        let class = if *number { " class=\"n\"" } else { "" };
        let _ = write!(table, "<th{class}>{head}</th>");
    }
    table.push_str("</tr></thead><tbody>\n");
    table.push_str(rows);
    table.push_str("</tbody></table></div>\n");
    table
}

/// A phase, with the colour that it has everywhere on the page.
pub fn phase(phase: Phase) -> String {
    format!("<span class=\"phase {}\">{phase:?}</span>", class(phase))
}

/// What a phase means at a glance.
pub fn class(phase: Phase) -> &'static str {
    match phase {
        Phase::Succeeded => "good",
        Phase::Failed => "bad",
        Phase::Running | Phase::Planning => "live",
        Phase::Cancelled | Phase::Paused | Phase::Suspended | Phase::Stopped | Phase::Waiting => "warn",
        Phase::Pending | Phase::Skipped => "dim",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_given_is_markup() {
        assert_eq!(
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;\u{fffd}",
            text("<script>\"a\" & 'b'\n", 99)
        );
        assert_eq!("&lt;…", text("<<<", 2));
    }
}
