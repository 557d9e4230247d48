//! Bar charts: one bar a row, so that names may be long.

use std::fmt::Write;

use super::axis::{Axis, Scale, drawable, number};
use super::{Svg, WIDTH, finish, shortened, text_width};
use crate::escape::escape;
use crate::interval::Interval;

const ROW: f64 = 30.0;
const BAR: f64 = 18.0;
const LABEL_MAX: f64 = 240.0;

/// A bar chart.
#[derive(Debug, Clone, PartialEq)]
pub struct BarChart {
    title: String,
    value_label: String,
    bars: Vec<Bar>,
}

#[derive(Debug, Clone, PartialEq)]
struct Bar {
    name: String,
    value: f64,
    interval: Option<Interval>,
    /// What stands beside the bar.
    text: String,
}

impl BarChart {
    /// A chart with no bars.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), value_label: String::new(), bars: Vec::new() }
    }

    /// What the values are, with their unit.
    pub fn value_label(mut self, label: impl Into<String>) -> Self {
        self.value_label = label.into();
        self
    }

    /// Adds a bar with its value beside it.
    pub fn bar(self, name: impl Into<String>, value: f64) -> Self {
        self.bar_with_text(name, value, number(value))
    }

    /// Adds a bar with a text of yours beside it: `2,567 tokens/s`.
    pub fn bar_with_text(mut self, name: impl Into<String>, value: f64, text: impl Into<String>) -> Self {
        self.bars.push(Bar { name: name.into(), value, interval: None, text: text.into() });
        self
    }

    /// Adds a bar with a whisker.
    pub fn bar_with_interval(mut self, name: impl Into<String>, value: f64, interval: Interval) -> Self {
        let text = format!("{} ({} to {})", number(value), number(interval.low), number(interval.high));
        self.bars.push(Bar { name: name.into(), value, interval: Some(interval), text });
        self
    }

    /// Draws it. A value that is not finite has no bar, only its text.
    pub fn to_svg(&self) -> Svg {
        let ends = |bar: &Bar| {
            let interval = bar.interval.unwrap_or(Interval { low: bar.value, high: bar.value });
            [bar.value, interval.low, interval.high]
        };
        let values = self.bars.iter().flat_map(ends).chain([0.0]);
        let axis = Axis::covering(values, Scale::Linear, 8, false);
        let widest = |text: fn(&Bar) -> &str| self.bars.iter().map(|bar| text_width(text(bar))).fold(0.0, f64::max);
        let left = 16.0 + widest(|bar| &bar.name).min(LABEL_MAX) + 12.0;
        let text_room = widest(|bar| &bar.text).min(LABEL_MAX) + 24.0;
        let width = WIDTH - left - text_room;
        let top = if self.title.is_empty() { 12.0 } else { 44.0 };

        let mut drawing = String::new();
        if !self.title.is_empty() {
            let title = escape(&shortened(&self.title, (WIDTH - 32.0) / 1.2));
            let _ = writeln!(drawing, "<text class=\"title\" x=\"16\" y=\"26\">{title}</text>");
        }
        let place = |value: f64| left + width * axis.place(value);
        let bottom = top + ROW * self.bars.len() as f64;
        for (row, bar) in self.bars.iter().enumerate() {
            draw_bar(bar, top + ROW * row as f64 + ROW / 2.0, left, &place, &mut drawing);
        }
        let zero = place(0.0);
        let _ = writeln!(
            drawing,
            "<line class=\"axis\" x1=\"{zero:.1}\" x2=\"{zero:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>"
        );
        let mut height = bottom + 14.0;
        if !self.value_label.is_empty() {
            let label = escape(&shortened(&self.value_label, WIDTH - 32.0));
            let _ = writeln!(drawing, "<text x=\"{left:.1}\" y=\"{:.1}\">{label}</text>", bottom + 18.0);
            height += 16.0;
        }
        let description: Vec<String> = self.bars.iter().map(|bar| format!("{}: {}", bar.name, bar.text)).collect();
        finish(height, &self.title, &description.join("; "), &drawing)
    }
}

fn draw_bar(bar: &Bar, middle: f64, left: f64, place: &impl Fn(f64) -> f64, drawing: &mut String) {
    let baseline = middle + 4.5;
    let _ = writeln!(
        drawing,
        "<text class=\"name\" text-anchor=\"end\" x=\"{:.1}\" y=\"{baseline:.1}\">{}</text>",
        left - 10.0,
        escape(&shortened(&bar.name, LABEL_MAX))
    );
    let mut end = place(0.0);
    if drawable(bar.value) {
        let (from, to) = (place(0.0).min(place(bar.value)), place(0.0).max(place(bar.value)));
        let _ = writeln!(
            drawing,
            "<rect class=\"bar c0\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"3\">\
             <title>{}: {}</title></rect>",
            middle - BAR / 2.0,
            (to - from).max(1.0),
            escape(&bar.name),
            escape(&bar.text)
        );
        end = to;
    }
    if let Some(Interval { low, high }) =
        bar.interval.filter(|interval| drawable(interval.low) && drawable(interval.high))
    {
        let (low, high) = (place(low), place(high));
        let (top, bottom) = (middle - 5.0, middle + 5.0);
        let _ = writeln!(
            drawing,
            "<path class=\"whisker\" d=\"M{low:.1} {top:.1}V{bottom:.1}M{low:.1} {middle:.1}H{high:.1}M{high:.1} {top:.1}V{bottom:.1}\"/>"
        );
        end = end.max(high);
    }
    let _ = writeln!(
        drawing,
        "<text x=\"{:.1}\" y=\"{baseline:.1}\">{}</text>",
        end + 8.0,
        escape(&shortened(&bar.text, LABEL_MAX))
    );
}
