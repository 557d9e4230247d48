//! Charts: well-formed, everything inside the picture, nothing from outside, whatever the values.

use tsumugi_report::interval::Interval;
use tsumugi_report::{BarChart, LineChart, Svg};

/// Checks that tags are balanced and returns the values of every attribute of one of these names.
fn checked_numbers(svg: &Svg, attributes: &[&str]) -> Vec<f64> {
    let text = svg.to_file_text();
    for wrong in ["NaN", "inf", "href", "<script", "url("] {
        assert!(!text.contains(wrong), "{wrong} in {text}");
    }
    let mut open: Vec<&str> = Vec::new();
    for tag in text.split('<').skip(2) {
        let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("an open tag: {tag}"));
        let name = tag.split([' ', '/']).find(|word| !word.is_empty()).unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{text}");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    let mut numbers = Vec::new();
    for attribute in attributes {
        for part in text.split(&format!(" {attribute}=\"")).skip(1) {
            numbers.push(part.split('"').next().unwrap().parse().unwrap());
        }
    }
    numbers
}

#[test]
fn any_values_stay_inside_the_picture() {
    let hard = [
        vec![],
        vec![(0.0, 0.0)],
        vec![(f64::NAN, 1.0), (1.0, f64::INFINITY), (2.0, 3.0)],
        vec![(1.0, -1e300), (2.0, 1e300)],
        vec![(1.0, 1e-320), (2.0, 2e-320)],
        vec![(5.0, 1e17), (6.0, 1e17 + 32.0)],
        (0..5000).map(|i| (f64::from(i), f64::from(i % 7))).collect(),
        vec![(3.0, 1.0), (1.0, 2.0), (2.0, 0.5)],
    ];
    for points in hard {
        for log in [false, true] {
            let mut chart = LineChart::new("t").x_label("x").y_label("y").reference("level", 2.5);
            chart = chart.series("a", points.clone()).smoothed_series("b", points.clone(), 5.0);
            if log {
                chart = chart.log_x().log_y();
            }
            for number in checked_numbers(&chart.to_svg(), &["x1", "x2", "y1", "y2", "cx", "cy"]) {
                assert!((0.0..=760.0).contains(&number), "{number} for {points:?}");
            }
        }
        let mut bars = BarChart::new("t").value_label("v");
        for &(value, low) in &points[..points.len().min(20)] {
            bars = bars.bar("a", value).bar_with_interval("b", value, Interval { low, high: value });
        }
        for number in checked_numbers(&bars.to_svg(), &["x1", "x2", "y1", "y2"]) {
            assert!(number.is_finite(), "{number} for {points:?}");
        }
    }
}

#[test]
fn names_are_escaped_and_long_ones_are_cut() {
    let evil = "<script>alert('1')</script>&\"";
    let long = "a very long name ".repeat(40);
    let chart = LineChart::new(evil).x_label(evil).y_label(long.clone()).series(evil, [(0.0, 1.0)]);
    let svg = chart.series(long.clone(), [(0.0, 2.0)]).reference(evil, 1.5).to_svg();
    checked_numbers(&svg, &[]);
    assert!(svg.as_str().contains("&lt;script&gt;"));
    assert!(svg.as_str().contains('…'));
    checked_numbers(&BarChart::new(evil).value_label(evil).bar(evil, 1.0).bar(long, 2.0).to_svg(), &[]);
}

#[test]
fn the_same_values_give_the_same_picture() {
    let draw = || LineChart::new("t").series("a", (1..100).map(|i| (f64::from(i), f64::from(i).ln()))).log_x().to_svg();
    assert_eq!(draw(), draw());
}

#[test]
fn a_gap_breaks_the_line() {
    let points = [(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 2.0)];
    let svg = LineChart::new("t").series("a", points).to_svg();
    let path = svg.as_str().split(" d=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 2), "{path}");
}

#[test]
fn a_line_ends_where_its_values_are() {
    // One line in a titled chart: no legend, so the frame begins 40 below the top and is 280 high.
    let svg = LineChart::new("t").series("a", [(0.0, 0.0), (10.0, 1.0)]).to_svg();
    let path = svg.as_str().split(" d=\"").nth(1).unwrap().split('"').next().unwrap();
    let (first, last) = path.trim_start_matches('M').split_once('L').unwrap();
    assert!(first.ends_with(" 320.0") && last == "736.0 40.0", "{path}");
}
