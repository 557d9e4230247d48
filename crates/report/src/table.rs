//! A table as text, HTML and Markdown.

use crate::escape::escape;

/// On which side of its column a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table. A column whose cells all begin like numbers is aligned to the right, unless told otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    columns: Vec<String>,
    align: Vec<Option<Align>>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column names and no rows.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        let columns: Vec<String> = columns.into_iter().map(Into::into).collect();
        Self { align: vec![None; columns.len()], columns, rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty.
    ///
    /// # Panics
    /// If there are more cells than columns: a mistake of the caller.
    pub fn row<S: Into<String>>(mut self, cells: impl IntoIterator<Item = S>) -> Self {
        self.push(cells);
        self
    }

    /// [`Table::row`] in a loop.
    ///
    /// # Panics
    /// If there are more cells than columns.
    pub fn push<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert!(cells.len() <= self.columns.len(), "{} cells for {} columns", cells.len(), self.columns.len());
        cells.resize(self.columns.len(), String::new());
        self.rows.push(cells);
    }

    /// Says on which side column `column` (from 0) stands.
    pub fn align(mut self, column: usize, align: Align) -> Self {
        self.align[column] = Some(align);
        self
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn alignment(&self, column: usize) -> Align {
        let numeric = || {
            let mut cells = self.rows.iter().map(|row| row[column].as_str()).filter(|cell| !cell.is_empty()).peekable();
            cells.peek().is_some() && cells.all(looks_numeric)
        };
        self.align[column].unwrap_or_else(|| if numeric() { Align::Right } else { Align::Left })
    }

    /// For a terminal: columns apart by two spaces, a line under the head. Line feeds in cells become spaces.
    pub fn to_text(&self) -> String {
        let clean = |cell: &String| cell.replace(['\n', '\r', '\t'], " ");
        let all: Vec<Vec<String>> =
            std::iter::once(&self.columns).chain(&self.rows).map(|row| row.iter().map(clean).collect()).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| all.iter().map(|row| display_width(&row[column])).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for (number, row) in all.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column] - display_width(cell));
                match self.alignment(column) {
                    Align::Left => line.extend([cell.as_str(), &padding]),
                    Align::Right => line.extend([padding.as_str(), cell]),
                }
                line.push_str("  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
            if number == 0 {
                let rules: Vec<String> = widths.iter().map(|&width| "─".repeat(width)).collect();
                text.push_str(&rules.join("  "));
                text.push('\n');
            }
        }
        text
    }

    /// For a page.
    pub fn to_html(&self) -> String {
        let cells = |tag: &str, row: &[String]| -> String {
            let cell = |(column, cell): (usize, &String)| {
                let class = if self.alignment(column) == Align::Right { " class=\"number\"" } else { "" };
                format!("<{tag}{class}>{}</{tag}>", escape(cell))
            };
            row.iter().enumerate().map(cell).collect()
        };
        let mut html =
            format!("<div class=\"wide\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n", cells("th", &self.columns));
        for row in &self.rows {
            html.push_str(&format!("<tr>{}</tr>\n", cells("td", row)));
        }
        html.push_str("</tbody>\n</table></div>\n");
        html
    }

    /// For a document.
    pub fn to_markdown(&self) -> String {
        let line = |row: &[String]| {
            let cells: Vec<String> =
                row.iter().map(|cell| cell.replace('|', "\\|").replace(['\n', '\r'], " ")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule = |column| if self.alignment(column) == Align::Right { "--:" } else { "---" };
        let rules: Vec<&str> = (0..self.columns.len()).map(rule).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}|{}|\n{rows}", line(&self.columns), rules.join("|"))
    }
}

/// Whether a cell begins like a number: a sign, then a digit.
fn looks_numeric(cell: &str) -> bool {
    let rest = cell.trim_start_matches(['+', '-', '−', '±', '<', '>', '≤', '≥', '~', ' ']);
    rest.starts_with(|c: char| c.is_ascii_digit()) || matches!(cell, "–" | "—" | "-" | "n/a")
}

/// Columns of a terminal that a text takes: two for East Asian wide characters and emoji, none for combining marks.
fn display_width(text: &str) -> usize {
    text.chars()
        .map(|c| match u32::from(c) {
            0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
            0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
            0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::new(["stage", "time", "note"]).row(["tokenizer", "3.1 s", "a|b\n<i>"]).row(["訓練", "12.0 s"])
    }

    #[test]
    fn text_is_aligned() {
        assert_eq!(
            table().to_text(),
            "stage        time  note\n─────────  ──────  ───────\ntokenizer   3.1 s  a|b <i>\n訓練       12.0 s\n"
        );
    }

    #[test]
    fn html_is_escaped() {
        let html = table().to_html();
        assert!(html.contains("<td class=\"number\">3.1 s</td><td>a|b\n&lt;i&gt;</td>"), "{html}");
        assert!(html.contains("<th class=\"number\">time</th>"), "{html}");
    }

    #[test]
    fn markdown_keeps_its_columns() {
        assert_eq!(
            table().to_markdown(),
            "| stage | time | note |\n|---|--:|---|\n| tokenizer | 3.1 s | a\\|b <i> |\n| 訓練 | 12.0 s |  |\n"
        );
    }

    #[test]
    fn sides_can_be_told() {
        let table = Table::new(["a"]).row(["1"]).align(0, Align::Left);
        assert!(!table.to_html().contains("number"));
        assert_eq!(Table::new(["a", "b"]).to_text(), "a  b\n─  ─\n");
    }
}
