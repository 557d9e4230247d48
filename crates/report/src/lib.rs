//! Tables, plots and one-page HTML reports: everything is text that we make ourselves, with no outside assets, readable
//! in light and dark, on a phone and on paper. Everything that comes in is escaped.
//!
//! ```
//! use tsumugi_report::{LineChart, Report, Table};
//!
//! let loss = LineChart::new("Validation loss").x_label("step").y_label("nats")
//!     .series("base", [(0.0, 4.2), (100.0, 2.9), (200.0, 2.4)]);
//! let stages = Table::new(["stage", "time"]).row(["tokenizer", "3.1 s"]).row(["pre-training", "2 min 10 s"]);
//! let page = Report::new("Quickstart").section("Training").plot(&loss.to_svg()).table(&stages).finish();
//! assert!(page.starts_with("<!doctype html>"));
//! ```

mod escape;
mod html;
pub mod interval;
pub mod plot;
mod table;

pub use escape::escape;
pub use html::Report;
pub use plot::{BarChart, LineChart, Svg};
pub use table::{Align, Table};
