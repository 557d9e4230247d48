//! Tables, plots and one-page HTML reports
