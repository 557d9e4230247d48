//! A report as one HTML page: style and pictures inside, no scripts, nothing fetched.

use std::fmt::Write;

use crate::escape::escape;
use crate::plot::Svg;
use crate::table::Table;

const STYLE: &str = include_str!("html.css");

/// A report, built from top to bottom.
#[derive(Debug, Clone)]
pub struct Report {
    title: String,
    subtitle: String,
    footer: String,
    /// Title of each section, for the list at the top.
    sections: Vec<String>,
    body: String,
    /// Before the first section.
    opening: String,
}

impl Report {
    /// An empty report.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            subtitle: String::new(),
            footer: String::new(),
            sections: Vec::new(),
            body: String::new(),
            opening: String::new(),
        }
    }

    /// One line under the title: when, where, with what.
    pub fn subtitle(mut self, text: impl Into<String>) -> Self {
        self.subtitle = text.into();
        self
    }

    /// One line at the end: the version, the command.
    pub fn footer(mut self, text: impl Into<String>) -> Self {
        self.footer = text.into();
        self
    }

    /// Begins a section. What comes before the first one stands above the list of sections.
    pub fn section(mut self, title: impl Into<String>) -> Self {
        let title = title.into();
        self.sections.push(title.clone());
        let _ = writeln!(self.body, "<h2 id=\"section-{}\">{}</h2>", self.sections.len(), escape(&title));
        self
    }

    /// A smaller heading in a section.
    pub fn subsection(self, title: &str) -> Self {
        self.with(&format!("<h3>{}</h3>\n", escape(title)))
    }

    /// Paragraphs of plain text, apart by empty lines.
    pub fn text(self, text: &str) -> Self {
        let paragraphs: String = text
            .split("\n\n")
            .map(str::trim)
            .filter(|paragraph| !paragraph.is_empty())
            .map(|paragraph| format!("<p>{}</p>\n", escape(paragraph)))
            .collect();
        self.with(&paragraphs)
    }

    /// A link to a file beside the page.
    pub fn link(self, text: &str, file: &str) -> Self {
        self.with(&format!("<p><a href=\"{}\">{}</a></p>\n", escape(file), escape(text)))
    }

    /// A few numbers that matter, large: `[("bits per byte", "2.31"), …]`.
    pub fn facts<'a>(self, facts: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let tiles: String = facts
            .into_iter()
            .map(|(name, value)| format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(&value)))
            .collect();
        self.with(&format!("<dl class=\"facts\">\n{tiles}</dl>\n"))
    }

    /// A table.
    pub fn table(self, table: &Table) -> Self {
        self.with(&table.to_html())
    }

    /// A picture.
    pub fn plot(self, svg: &Svg) -> Self {
        self.with(&format!("<figure>{}</figure>\n", svg.as_str()))
    }

    /// A picture with a sentence under it.
    pub fn plot_with_caption(self, svg: &Svg, caption: &str) -> Self {
        self.with(&format!("<figure>{}<figcaption>{}</figcaption></figure>\n", svg.as_str(), escape(caption)))
    }

    /// Text whose lines and spaces count: a sample, a log, a recipe.
    pub fn preformatted(self, text: &str) -> Self {
        self.with(&format!("<pre>{}</pre>\n", preformatted_text(text)))
    }

    /// [`Report::preformatted`] with a line above it that says what it is.
    pub fn labelled(self, label: &str, text: &str) -> Self {
        self.with(&format!("<p class=\"label\">{}</p>\n<pre>{}</pre>\n", escape(label), preformatted_text(text)))
    }

    /// [`Report::preformatted`], folded away under its summary.
    pub fn folded(self, summary: &str, text: &str) -> Self {
        let (summary, text) = (escape(summary), preformatted_text(text));
        self.with(&format!("<details><summary>{summary}</summary><pre>{text}</pre></details>\n"))
    }

    fn with(mut self, html: &str) -> Self {
        if self.sections.is_empty() {
            self.opening.push_str(html)
        } else {
            self.body.push_str(html)
        }
        self
    }

    /// The whole page.
    pub fn finish(&self) -> String {
        let title = escape(&self.title);
        let line = |tag: &str, class: &str, text: &str| {
            if text.is_empty() { String::new() } else { format!("<{tag}{class}>{}</{tag}>\n", escape(text)) }
        };
        let link = |(i, title): (usize, &String)| format!("<a href=\"#section-{}\">{}</a>\n", i + 1, escape(title));
        let links: String = self.sections.iter().enumerate().map(link).collect();
        let list = if self.sections.len() > 1 { format!("<nav>\n{links}</nav>\n") } else { String::new() };
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
             {subtitle}{opening}{list}{body}{footer}</main>\n</body>\n</html>\n",
            subtitle = line("p", " class=\"subtitle\"", &self.subtitle),
            opening = self.opening,
            body = self.body,
            footer = line("footer", "", &self.footer),
        )
    }
}

/// The parser drops a line feed right after `<pre>`, so a text that begins with one gets a second.
fn preformatted_text(text: &str) -> String {
    let text = escape(text);
    if text.starts_with('\n') { format!("\n{text}") } else { text }
}
