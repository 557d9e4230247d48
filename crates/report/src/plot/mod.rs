//! Plots as SVG by a small writer of our own: no fonts, scripts or pictures from outside, colours that follow the
//! reader's light or dark setting.

mod axis;
mod bar_chart;
mod line_chart;

use crate::escape::escape;

pub use bar_chart::BarChart;
pub use line_chart::{LineChart, Series};

/// A finished picture: one `<svg>` element, safe to put into a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svg(String);

impl Svg {
    /// The `<svg>` element.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The element as a file of its own.
    pub fn to_file_text(&self) -> String {
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", self.0)
    }
}

/// Colours of series; a ninth begins again with another dash pattern. Chosen to be told apart with the common colour
/// blindnesses (after Okabe and Ito 2008), with enough contrast on their paper.
const SERIES_COLORS: usize = 8;

/// The style of every plot. It stands in each one, so that a plot is a whole file.
const STYLE: &str = "\
.tsumugi-plot{--paper:#ffffff;--ink:#1f2328;--dim:#59636e;--grid:#e4e8ec;--axis:#9aa4ae;\
--s0:#0b6bcb;--s1:#d35400;--s2:#0a8f6a;--s3:#b4308f;--s4:#8a6d00;--s5:#2aa0d8;--s6:#7048c8;--s7:#5a6672;\
font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;font-size:13px}\
@media (prefers-color-scheme:dark){.tsumugi-plot{--paper:#0f1419;--ink:#e6edf3;--dim:#9aa7b4;--grid:#232b33;--axis:#55616d;\
--s0:#5aa9ff;--s1:#ff9d57;--s2:#3fd0a4;--s3:#f07fd0;--s4:#e0c04a;--s5:#7fd4ff;--s6:#b79cff;--s7:#a9b4bf}}\
.tsumugi-plot .paper{fill:var(--paper)}.tsumugi-plot text{fill:var(--dim)}\
.tsumugi-plot .title{fill:var(--ink);font-size:15px;font-weight:600}.tsumugi-plot .name{fill:var(--ink)}\
.tsumugi-plot .grid{stroke:var(--grid);stroke-width:1}.tsumugi-plot .axis{stroke:var(--axis);stroke-width:1}\
.tsumugi-plot .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}\
.tsumugi-plot .faint{fill:none;stroke-width:1;opacity:.35;stroke-linejoin:round}\
.tsumugi-plot .reference{stroke:var(--dim);stroke-width:1.5;stroke-dasharray:6 4}\
.tsumugi-plot .whisker{stroke:var(--ink);stroke-width:1.5;fill:none}\
.tsumugi-plot .c0{--c:var(--s0)}.tsumugi-plot .c1{--c:var(--s1)}.tsumugi-plot .c2{--c:var(--s2)}\
.tsumugi-plot .c3{--c:var(--s3)}.tsumugi-plot .c4{--c:var(--s4)}.tsumugi-plot .c5{--c:var(--s5)}\
.tsumugi-plot .c6{--c:var(--s6)}.tsumugi-plot .c7{--c:var(--s7)}\
.tsumugi-plot .line,.tsumugi-plot .faint{stroke:var(--c)}.tsumugi-plot .dot,.tsumugi-plot .bar{fill:var(--c)}";

/// The whole width of a plot; it scales with the page.
const WIDTH: f64 = 760.0;

/// Wraps the drawing of a plot. `title` and `description` are what a screen reader says.
fn finish(height: f64, title: &str, description: &str, drawing: &str) -> Svg {
    Svg(format!(
        "<svg class=\"tsumugi-plot\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" aria-label=\"{}\">\n<title>{}</title>\n<desc>{}</desc>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n{drawing}</svg>",
        escape(title),
        escape(title),
        escape(description),
    ))
}

/// About how wide a text is at 13 pixels: enough to keep labels apart.
fn text_width(text: &str) -> f64 {
    text.chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | 't' | 'f' | 'r' | '.' | ',' | ':' | '\'' | '|' | ' ' | '(' | ')' => 4.3,
            'm' | 'w' | 'M' | 'W' | '%' | '@' => 11.2,
            c if c.is_ascii_uppercase() => 8.8,
            c if u32::from(c) >= 0x1100 => 13.0,
            _ => 7.3,
        })
        .sum()
}

/// Cuts a text to about `width` pixels, with an ellipsis.
fn shortened(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.into();
    }
    let mut short = String::new();
    for character in text.chars() {
        if text_width(&short) + 13.0 > width {
            break;
        }
        short.push(character);
    }
    short.push('…');
    short
}
