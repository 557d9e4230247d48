//! The page: everything escaped, nothing fetched.

use tsumugi_report::{LineChart, Report, Table};

#[test]
fn whatever_comes_in_is_text() {
    let evil = "</pre></title><script>alert(1)</script><img src=x onerror=\"y\">'&";
    let page = Report::new(evil)
        .subtitle(evil)
        .facts([(evil, evil.to_owned())])
        .section(evil)
        .section(evil)
        .subsection(evil)
        .text(evil)
        .table(&Table::new([evil]).row([evil]))
        .plot_with_caption(&LineChart::new(evil).series(evil, [(0.0, 1.0)]).to_svg(), evil)
        .preformatted(evil)
        .labelled(evil, evil)
        .folded(evil, evil)
        .footer(evil)
        .finish();
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains("<img"), "{page}");
    assert_eq!(page.matches("</pre>").count(), 3);
    assert_eq!(page.matches("</title>").count(), 3, "the page, the picture, its dot");
}

#[test]
fn nothing_is_fetched() {
    let page = Report::new("t").section("a").plot(&LineChart::new("c").to_svg()).finish();
    let outside = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for word in ["http:", "https:", "src=", "@import", "url(", "<link"] {
        assert!(!outside.contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn what_comes_before_the_first_section_stands_above_the_list() {
    let page = Report::new("t").text("first\n\nsecond").section("A").text("in a").section("B").finish();
    let order = [
        "<h1>t</h1>",
        "<p>first</p>",
        "<p>second</p>",
        "<nav>",
        "#section-2",
        "section-1\">A",
        "in a",
        "section-2\">B",
    ];
    let mut rest = page.as_str();
    for part in order {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part} is not in its place"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn a_sample_keeps_its_first_line_feed() {
    let page = Report::new("t").preformatted("\n  KING:\n").finish();
    assert!(page.contains("<pre>\n\n  KING:\n</pre>"));
}
