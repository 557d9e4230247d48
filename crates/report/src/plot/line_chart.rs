//! Line charts: losses over steps, scores over sizes.

use std::fmt::Write;

use super::axis::{Axis, Scale, Tick, drawable, number};
use super::{SERIES_COLORS, Svg, WIDTH, finish, shortened, text_width};
use crate::escape::escape;

const PLOT_HEIGHT: f64 = 280.0;
const RIGHT: f64 = 24.0;
const LEGEND_ROW: f64 = 20.0;
/// At most this many points get a dot of their own.
const DOTS_MAX: usize = 24;
/// A line is thinned to the extremes of this many columns: more cannot be seen.
const COLUMNS_MAX: usize = 1000;

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// `(x, y)`, in the order of drawing. A value that is not finite makes a gap.
    pub points: Vec<(f64, f64)>,
    /// Draw the values faintly and a line fitted over about this many neighbours strongly.
    pub smooth_over: Option<f64>,
}

/// A line chart.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart {
    title: String,
    x_label: String,
    y_label: String,
    log_x: bool,
    log_y: bool,
    series: Vec<Series>,
    references: Vec<(String, f64)>,
}

impl LineChart {
    /// A chart with nothing in it.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            x_label: String::new(),
            y_label: String::new(),
            log_x: false,
            log_y: false,
            series: Vec::new(),
            references: Vec::new(),
        }
    }

    /// What x is, with its unit.
    pub fn x_label(mut self, label: impl Into<String>) -> Self {
        self.x_label = label.into();
        self
    }

    /// What y is, with its unit.
    pub fn y_label(mut self, label: impl Into<String>) -> Self {
        self.y_label = label.into();
        self
    }

    /// Makes x logarithmic; points at 0 and below are left out.
    pub fn log_x(mut self) -> Self {
        self.log_x = true;
        self
    }

    /// Makes y logarithmic; points at 0 and below are left out.
    pub fn log_y(mut self) -> Self {
        self.log_y = true;
        self
    }

    /// Adds a line.
    pub fn series(mut self, name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        self.series.push(Series { name: name.into(), points: points.into_iter().collect(), smooth_over: None });
        self
    }

    /// Adds a noisy line: its values faint, a line fitted over about `over` neighbours strong.
    pub fn smoothed_series(
        mut self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
        over: f64,
    ) -> Self {
        let points = points.into_iter().collect();
        self.series.push(Series { name: name.into(), points, smooth_over: Some(over.max(1.0)) });
        self
    }

    /// Adds a dashed horizontal line with a name, such as a published score.
    pub fn reference(mut self, name: impl Into<String>, y: f64) -> Self {
        self.references.push((name.into(), y));
        self
    }

    /// Draws it.
    pub fn to_svg(&self) -> Svg {
        let scale = |log| if log { Scale::Logarithmic } else { Scale::Linear };
        let (x_scale, y_scale) = (scale(self.log_x), scale(self.log_y));
        let visible = |&(x, y): &(f64, f64)| x_scale.has(x) && y_scale.has(y);
        let points = || self.series.iter().flat_map(|series| &series.points).copied().filter(visible);
        let levels = self.references.iter().map(|&(_, y)| y);
        let x_axis = Axis::covering(points().map(|(x, _)| x), x_scale, 8, false);
        let y_axis = Axis::covering(points().map(|(_, y)| y).chain(levels), y_scale, 6, true);

        let (legend, legend_height) = self.legend();
        let top = if self.title.is_empty() { 12.0 } else { 40.0 } + legend_height;
        let widest = y_axis.ticks.iter().map(|tick| text_width(&tick.label)).fold(0.0, f64::max);
        let left = 16.0 + widest + if self.y_label.is_empty() { 0.0 } else { 20.0 };
        let frame = Frame { left, top, width: WIDTH - RIGHT - left, height: PLOT_HEIGHT, x_axis, y_axis };
        let bottom = if self.x_label.is_empty() { 32.0 } else { 52.0 };

        let mut drawing = String::new();
        if !self.title.is_empty() {
            let title = escape(&shortened(&self.title, (WIDTH - 32.0) / 1.2));
            let _ = writeln!(drawing, "<text class=\"title\" x=\"16\" y=\"26\">{title}</text>");
        }
        drawing.push_str(&legend);
        self.draw_axes(&frame, &mut drawing);
        for (number, series) in self.series.iter().enumerate() {
            draw_series(&frame, number, series, &visible, &mut drawing);
        }
        self.draw_references(&frame, &mut drawing);
        finish(top + PLOT_HEIGHT + bottom, &self.title, &self.description(), &drawing)
    }

    /// The last value of each line, for those who cannot see it.
    fn description(&self) -> String {
        let last = |series: &Series| {
            let point = series.points.iter().rev().find(|(x, y)| x.is_finite() && y.is_finite());
            point.map(|&(x, y)| format!("{}: {} at {}", series.name, number(y), number(x)))
        };
        self.series.iter().filter_map(last).collect::<Vec<_>>().join("; ")
    }

    /// The names in rows, and the height of the rows. One line needs no legend if there is a title.
    fn legend(&self) -> (String, f64) {
        if self.series.len() <= 1 && !self.title.is_empty() {
            return (String::new(), 0.0);
        }
        let (mut x, mut row, mut drawing) = (16.0, 0.0, String::new());
        let top = if self.title.is_empty() { 20.0 } else { 46.0 };
        for (number, series) in self.series.iter().enumerate() {
            let name = shortened(&series.name, WIDTH / 2.0);
            let width = 34.0 + text_width(&name) + 18.0;
            if x > 16.0 && x + width > WIDTH - RIGHT {
                (x, row) = (16.0, row + 1.0);
            }
            let y = top + row * LEGEND_ROW;
            let _ = writeln!(
                drawing,
                "<line class=\"line {}\"{} x1=\"{x:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                color_class(number),
                dashes(number),
                x + 24.0,
                x + 32.0,
                y + 4.5,
                escape(&name)
            );
            x += width;
        }
        (drawing, (row + 1.0) * LEGEND_ROW + 8.0)
    }

    fn draw_axes(&self, frame: &Frame, drawing: &mut String) {
        let (left, right, bottom) = (frame.left, frame.left + frame.width, frame.top + frame.height);
        for Tick { value, label } in &frame.y_axis.ticks {
            let y = frame.y(*value);
            let _ = writeln!(
                drawing,
                "<line class=\"grid\" x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
                left - 8.0,
                y + 4.5
            );
        }
        let mut free_from = f64::NEG_INFINITY;
        for Tick { value, label } in &frame.x_axis.ticks {
            let x = frame.x(*value);
            let half = text_width(label) / 2.0;
            let _ = writeln!(
                drawing,
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom:.1}\" y2=\"{:.1}\"/>",
                bottom + 5.0
            );
            if x - half > free_from && x + half < WIDTH {
                let _ = writeln!(
                    drawing,
                    "<text text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{label}</text>",
                    bottom + 20.0
                );
                free_from = x + half + 8.0;
            }
        }
        let _ = writeln!(
            drawing,
            "<line class=\"axis\" x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{bottom:.1}\" y2=\"{bottom:.1}\"/>"
        );
        if !self.x_label.is_empty() {
            let (x, y) = (left + frame.width / 2.0, bottom + 42.0);
            let label = escape(&shortened(&self.x_label, frame.width));
            let _ = writeln!(drawing, "<text text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\">{label}</text>");
        }
        if !self.y_label.is_empty() {
            let (x, y) = (18.0, frame.top + frame.height / 2.0);
            let label = escape(&shortened(&self.y_label, frame.height));
            let _ = writeln!(
                drawing,
                "<text text-anchor=\"middle\" transform=\"translate({x:.1} {y:.1}) rotate(-90)\">{label}</text>"
            );
        }
    }

    fn draw_references(&self, frame: &Frame, drawing: &mut String) {
        for (name, level) in self.references.iter().filter(|(_, level)| frame.y_axis.scale.has(*level)) {
            let (y, right) = (frame.y(*level), frame.left + frame.width);
            let label = escape(&shortened(&format!("{name}: {}", number(*level)), frame.width));
            // Above the line, unless it lies at the top.
            let text_y = if y - frame.top < 20.0 { y + 16.0 } else { y - 6.0 };
            let _ = writeln!(
                drawing,
                "<line class=\"reference\" x1=\"{:.1}\" x2=\"{right:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text text-anchor=\"end\" x=\"{:.1}\" y=\"{text_y:.1}\">{label}</text>",
                frame.left,
                right - 4.0
            );
        }
    }
}

/// Where the data is drawn.
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    x_axis: Axis,
    y_axis: Axis,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        self.left + self.width * self.x_axis.place(value)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - self.y_axis.place(value))
    }
}

fn color_class(series: usize) -> String {
    format!("c{}", series % SERIES_COLORS)
}

fn dashes(series: usize) -> &'static str {
    match series / SERIES_COLORS {
        0 => "",
        1 => " stroke-dasharray=\"7 4\"",
        _ => " stroke-dasharray=\"2 4\"",
    }
}

fn draw_series(
    frame: &Frame,
    number_of_series: usize,
    series: &Series,
    visible: &impl Fn(&(f64, f64)) -> bool,
    drawing: &mut String,
) {
    let (color, dashes) = (color_class(number_of_series), dashes(number_of_series));
    match series.smooth_over {
        None => draw_path(frame, &series.points, visible, &format!("line {color}"), dashes, drawing),
        Some(over) => {
            draw_path(frame, &series.points, visible, &format!("faint {color}"), "", drawing);
            let smooth = smoothed(&series.points, over);
            draw_path(frame, &smooth, visible, &format!("line {color}"), dashes, drawing);
        }
    }
    let shown: Vec<&(f64, f64)> = series.points.iter().filter(|point| visible(point)).collect();
    if shown.len() <= DOTS_MAX && series.smooth_over.is_none() {
        for &&(x, y) in &shown {
            let _ = writeln!(
                drawing,
                "<circle class=\"dot {color}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{}: {} at {}</title></circle>",
                frame.x(x),
                frame.y(y),
                escape(&series.name),
                number(y),
                number(x)
            );
        }
    }
}

fn draw_path(
    frame: &Frame,
    points: &[(f64, f64)],
    visible: &impl Fn(&(f64, f64)) -> bool,
    class: &str,
    dashes: &str,
    drawing: &mut String,
) {
    let mut path = String::new();
    for stretch in points.split(|point| !visible(point)).filter(|stretch| !stretch.is_empty()) {
        let places: Vec<(f64, f64)> = stretch.iter().map(|&(x, y)| (frame.x(x), frame.y(y))).collect();
        for (i, (x, y)) in thinned(&places, frame.width).into_iter().enumerate() {
            let _ = write!(path, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
        }
    }
    if !path.is_empty() {
        let _ = writeln!(drawing, "<path class=\"{class}\"{dashes} d=\"{path}\"/>");
    }
}

/// First, lowest, highest and last place of each column, so that no spike is lost. Only for lines that go to the right.
fn thinned(places: &[(f64, f64)], width: f64) -> Vec<(f64, f64)> {
    if places.len() <= 2 * COLUMNS_MAX || places.windows(2).any(|pair| pair[1].0 < pair[0].0) {
        return places.to_vec();
    }
    let column = |place: &(f64, f64)| (place.0 / width * COLUMNS_MAX as f64).floor();
    let mut kept = Vec::new();
    for group in places.chunk_by(|a, b| column(a) == column(b)) {
        let by_height = |&a: &usize, &b: &usize| group[a].1.total_cmp(&group[b].1);
        let lowest = (0..group.len()).min_by(by_height).unwrap_or(0);
        let highest = (0..group.len()).max_by(by_height).unwrap_or(0);
        let mut chosen = [0, lowest, highest, group.len() - 1];
        chosen.sort_unstable();
        for (i, &index) in chosen.iter().enumerate() {
            if i == 0 || index != chosen[i - 1] {
                kept.push(group[index]);
            }
        }
    }
    kept
}

/// The straight line fitted to about `over` neighbouring values, at its place (Cleveland 1979, without weights): in the
/// middle that is their mean, at the ends it neither lags behind a falling line nor follows the noise. Gaps stay gaps.
fn smoothed(points: &[(f64, f64)], over: f64) -> Vec<(f64, f64)> {
    let finite: Vec<f64> = points.iter().map(|&(_, y)| y).filter(|y| drawable(*y)).collect();
    // Sums of y and of place times y before each value.
    let (mut sums, mut moments) = (vec![0.0], vec![0.0]);
    for (i, y) in finite.iter().enumerate() {
        sums.push(sums[i] + y);
        moments.push(moments[i] + i as f64 * y);
    }
    let half = (over.clamp(1.0, 1e9) / 2.0) as usize;
    let mut at = 0usize;
    let mut fit = |&(x, y): &(f64, f64)| {
        if !drawable(y) {
            return (x, y);
        }
        let (from, to) = (at.saturating_sub(half), (at + half + 1).min(finite.len()));
        let (count, middle) = ((to - from) as f64, (from + to - 1) as f64 / 2.0);
        let sum = sums[to] - sums[from];
        let spread = count * (count * count - 1.0) / 12.0;
        let slope = if spread > 0.0 { (moments[to] - moments[from] - middle * sum) / spread } else { 0.0 };
        let fitted = sum / count + slope * (at as f64 - middle);
        at += 1;
        (x, if drawable(fitted) { fitted } else { y })
    };
    points.iter().map(&mut fit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_ends_and_spikes() {
        let mut places: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i) / 150.0, 50.0)).collect();
        places[54_321].1 = 999.0;
        places[12_345].1 = -999.0;
        let kept = thinned(&places, 667.0);
        assert!(kept.len() < 5000);
        assert_eq!((kept[0], kept[kept.len() - 1]), (places[0], places[99_999]));
        assert!(kept.contains(&places[54_321]) && kept.contains(&places[12_345]));
    }

    #[test]
    fn smoothing_keeps_a_constant_and_gaps() {
        let points = [(0.0, 2.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 2.0)];
        let smooth = smoothed(&points, 10.0);
        assert!(smooth[2].1.is_nan());
        assert!([0, 1, 3].iter().all(|&i: &usize| (smooth[i].1 - 2.0).abs() < 1e-12));
    }

    #[test]
    fn smoothing_a_straight_line_gives_it_back() {
        let points: Vec<(f64, f64)> = (0..50).map(|i| (f64::from(i), 100.0 - f64::from(i))).collect();
        for (found, expected) in smoothed(&points, 9.0).iter().zip(&points) {
            assert!((found.1 - expected.1).abs() < 1e-9);
        }
        // By hand: the mean of three in the middle, the line through two at the ends.
        let smooth = smoothed(&[(0.0, 0.0), (1.0, 3.0), (2.0, 9.0)], 3.0);
        assert_eq!(smooth, [(0.0, 0.0), (1.0, 4.0), (2.0, 9.0)]);
    }
}
