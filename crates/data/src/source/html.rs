//! The main text of a page, from its tokens alone: no tree is built, so nothing can be nested too deeply, and time and
//! memory grow with the size of the page.
//!
//! Blocks of text are told from boilerplate by their words and links and those of their neighbours: Kohlschütter,
//! Fankhauser, Nejdl 2010, "Boilerplate Detection using Shallow Text Features" (WSDM), algorithm 2, which needs no list of
//! words and so no language. What stands in `nav`, `footer`, `aside` is boilerplate by its own word; short blocks between
//! blocks of the main text belong to it (the idea of jusText's context-sensitive pass, Pomikálek 2011).

use std::convert::Infallible;
use std::ops::Range;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};

/// Most blocks that are told apart; text behind them joins the last one.
const BLOCKS_MAX: usize = 200_000;
/// Most short blocks in a row that are taken as a part of the main text around them.
const GAP_MAX: usize = 8;
/// How far a block's neighbour is looked for.
const NEIGHBOURS_MAX: usize = 100;
/// Where a page may declare its encoding: the standard looks at 1,024 bytes, browsers at more.
const HEAD_BYTES: usize = 4096;
/// Longest title.
const TITLE_BYTES_MAX: usize = 1000;

/// The main text of a page: paragraphs apart by empty lines. A page in which nothing stands out gives all of its text.
pub fn main_text(html: &str) -> String {
    Page::read(html).main_text()
}

/// A page as its blocks of text.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// What `<title>` says.
    pub title: String,
    text: String,
    blocks: Vec<Block>,
}

/// Text between two tags that begin or end a paragraph.
#[derive(Debug)]
struct Block {
    text: Range<usize>,
    words: u32,
    /// Of them, words in links.
    linked: u32,
    kind: Kind,
    /// Whether it stands in `nav` or the like.
    is_aside: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Paragraph,
    Heading,
    Item,
    Preformatted,
}

impl Block {
    fn link_share(&self) -> f32 {
        self.linked as f32 / self.words.max(1) as f32
    }
}

impl Page {
    /// Reads a page of any bytes.
    pub fn read(html: &str) -> Self {
        let mut reader = Reader::default();
        {
            let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, _: Span<()>| -> Option<Infallible> {
                reader.event(event);
                None
            });
            emitter.naively_switch_states(true);
            let Ok(()) = Tokenizer::new_with_emitter(html, emitter).finish();
        }
        reader.end_block();
        reader.page.title = reader.page.title.split_whitespace().collect::<Vec<_>>().join(" ");
        reader.page
    }

    /// All of its text.
    pub fn all_text(&self) -> String {
        self.join(|_| true)
    }

    /// Its main text, or all if there is none.
    pub fn main_text(&self) -> String {
        let mut is_main: Vec<bool> = (0..self.blocks.len()).map(|index| self.is_main(index)).collect();
        if !is_main.contains(&true) {
            return self.all_text();
        }
        self.fill_gaps(&mut is_main);
        self.join(|index| is_main[index])
    }

    /// Algorithm 2 of the paper, on the words of this block and on the words and links of its neighbours.
    fn is_main(&self, index: usize) -> bool {
        let block = &self.blocks[index];
        if block.is_aside || block.link_share() > 1.0 / 3.0 {
            return false;
        }
        let measure = |block: Option<&Block>| block.map_or((0, 0.0), |block| (block.words, block.link_share()));
        // What is boilerplate by its own word is not there; not looked for far away, or time would grow with its square.
        let is_there = |block: &&Block| !block.is_aside;
        let (before, before_links) = measure(self.blocks[..index].iter().rev().take(NEIGHBOURS_MAX).find(is_there));
        let (after, _) = measure(self.blocks[index + 1..].iter().take(NEIGHBOURS_MAX).find(is_there));
        if before_links <= 5.0 / 9.0 {
            block.words > 16 || after > 15 || before > 4
        } else {
            block.words > 40 || after > 17
        }
    }

    /// Takes in short blocks without links between main ones, and a heading before the first.
    fn fill_gaps(&self, is_main: &mut [bool]) {
        let may_belong = |index: usize| !self.blocks[index].is_aside && self.blocks[index].link_share() <= 1.0 / 3.0;
        let mut last: Option<usize> = None;
        for index in 0..is_main.len() {
            if !is_main[index] {
                continue;
            }
            match last {
                Some(last) if index - last <= GAP_MAX + 1 => {
                    for between in (last + 1..index).filter(|&between| may_belong(between)) {
                        is_main[between] = true;
                    }
                }
                _ => {
                    let heading = index.checked_sub(1).filter(|&before| self.blocks[before].kind == Kind::Heading);
                    if let Some(heading) = heading.filter(|&heading| may_belong(heading)) {
                        is_main[heading] = true;
                    }
                }
            }
            last = Some(index);
        }
    }

    fn join(&self, takes: impl Fn(usize) -> bool) -> String {
        let mut text = String::new();
        let mut before: Option<Kind> = None;
        for (_, block) in self.blocks.iter().enumerate().filter(|&(index, _)| takes(index)) {
            match before {
                None => {}
                Some(Kind::Item) if block.kind == Kind::Item => text.push('\n'),
                Some(_) => text.push_str("\n\n"),
            }
            if block.kind == Kind::Item {
                text.push_str("- ");
            }
            text.push_str(&self.text[block.text.clone()]);
            before = Some(block.kind);
        }
        text
    }
}

/// What a tag means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    /// Ends the block before it.
    Block(Kind),
    /// Is a block, and boilerplate with all that is in it.
    Aside,
    /// Has no text of the page in it.
    Hidden,
    Preformatted,
    Link,
    Break,
    Title,
    /// Stands in a line.
    Inline,
}

fn tag(name: &[u8]) -> Tag {
    match name {
        b"a" => Tag::Link,
        b"br" => Tag::Break,
        b"pre" => Tag::Preformatted,
        b"title" => Tag::Title,
        b"nav" | b"footer" | b"aside" | b"menu" => Tag::Aside,
        b"script" | b"style" | b"noscript" | b"template" | b"svg" | b"math" | b"iframe" | b"object" | b"select"
        | b"button" | b"textarea" | b"canvas" | b"audio" | b"video" | b"datalist" => Tag::Hidden,
        b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" => Tag::Block(Kind::Heading),
        b"li" => Tag::Block(Kind::Item),
        b"p" | b"div" | b"ul" | b"ol" | b"table" | b"tr" | b"td" | b"th" | b"thead" | b"tbody" | b"caption" | b"hr"
        | b"section" | b"article" | b"header" | b"main" | b"blockquote" | b"dl" | b"dt" | b"dd" | b"figure"
        | b"figcaption" | b"form" | b"fieldset" | b"legend" | b"label" | b"body" | b"head" | b"html" | b"address"
        | b"details" | b"summary" | b"center" => Tag::Block(Kind::Paragraph),
        _ => Tag::Inline,
    }
}

/// Puts the blocks together while tokens come.
#[derive(Debug, Default)]
struct Reader {
    page: Page,
    /// Where the block that is read begins in the text, and what is in it so far.
    start: usize,
    words: u32,
    linked: u32,
    kind: Option<Kind>,
    /// The element whose text is left out, and how often it stands in itself.
    hidden: Option<(Vec<u8>, u32)>,
    asides: u32,
    preformatted: u32,
    in_link: bool,
    in_title: bool,
}

impl Reader {
    fn event(&mut self, event: CallbackEvent<'_>) {
        match event {
            CallbackEvent::OpenStartTag { name } => self.open(name),
            CallbackEvent::EndTag { name } => self.close(name),
            CallbackEvent::String { value } if self.hidden.is_none() => self.text(&String::from_utf8_lossy(value)),
            _ => {}
        }
    }

    fn open(&mut self, name: &[u8]) {
        if let Some((hidden, depth)) = &mut self.hidden {
            *depth += u32::from(hidden == name);
            return;
        }
        match tag(name) {
            Tag::Hidden => self.hidden = Some((name.to_vec(), 1)),
            Tag::Block(kind) => {
                self.end_block();
                self.kind = Some(kind);
            }
            Tag::Aside => {
                self.end_block();
                self.asides += 1;
            }
            Tag::Preformatted => {
                self.end_block();
                self.preformatted += 1;
            }
            Tag::Link => self.in_link = true,
            Tag::Break => self.push_line_end(),
            Tag::Title => self.in_title = self.page.title.is_empty(),
            Tag::Inline => {}
        }
    }

    fn close(&mut self, name: &[u8]) {
        if let Some((hidden, depth)) = &mut self.hidden {
            if hidden == name {
                *depth -= 1;
                if *depth == 0 {
                    self.hidden = None;
                }
            }
            return;
        }
        match tag(name) {
            Tag::Block(_) => self.end_block(),
            Tag::Aside => {
                self.end_block();
                self.asides = self.asides.saturating_sub(1);
            }
            Tag::Preformatted => {
                self.end_block();
                self.preformatted = self.preformatted.saturating_sub(1);
            }
            Tag::Link => self.in_link = false,
            Tag::Title => self.in_title = false,
            Tag::Hidden | Tag::Break | Tag::Inline => {}
        }
    }

    fn text(&mut self, value: &str) {
        if self.in_title {
            let room = TITLE_BYTES_MAX.saturating_sub(self.page.title.len());
            self.page.title.push_str(&value[..value.floor_char_boundary(room)]);
            return;
        }
        let text = &mut self.page.text;
        if self.preformatted > 0 {
            text.push_str(value);
        } else {
            // A run of white space is one space, and none at the beginning of a line.
            let mut parts = value.split_whitespace();
            let begins_apart = value.starts_with(char::is_whitespace);
            let is_inside = |text: &str, start: usize| text.len() > start && !text.ends_with(['\n', ' ']);
            if begins_apart && is_inside(text, self.start) {
                text.push(' ');
            }
            if let Some(first) = parts.next() {
                text.push_str(first);
                for part in parts {
                    text.push(' ');
                    text.push_str(part);
                }
                if value.ends_with(char::is_whitespace) {
                    text.push(' ');
                }
            }
        }
        let words = words(value);
        self.words = self.words.saturating_add(words);
        if self.in_link {
            self.linked = self.linked.saturating_add(words);
        }
    }

    fn push_line_end(&mut self) {
        let text = &mut self.page.text;
        if text.len() > self.start {
            let end = text.trim_end_matches(' ').len();
            text.truncate(end.max(self.start));
            text.push('\n');
        }
    }

    fn end_block(&mut self) {
        let kind = if self.preformatted > 0 { Kind::Preformatted } else { self.kind.unwrap_or(Kind::Paragraph) };
        self.kind = None;
        let found = &self.page.text[self.start..];
        let end = self.start + found.trim_end().len();
        let begins = if kind == Kind::Preformatted { found.len() - found.trim_start_matches('\n').len() } else { 0 };
        self.page.text.truncate(end);
        let text = self.start + begins.min(end - self.start)..end;
        let (words, linked) = (std::mem::take(&mut self.words), std::mem::take(&mut self.linked));
        self.start = end;
        if text.is_empty() {
            return;
        }
        let is_aside = self.asides > 0;
        let blocks = &mut self.page.blocks;
        let is_full = blocks.len() >= BLOCKS_MAX;
        match blocks.last_mut().filter(|_| is_full) {
            Some(last) => last.text.end = text.end,
            None => blocks.push(Block { text, words, linked, kind, is_aside }),
        }
    }
}

/// Words of a text; two characters of a script that sets no spaces are one.
fn words(text: &str) -> u32 {
    let apart = text.split_whitespace().count();
    let is_unspaced =
        |character: char| matches!(character, '\u{0e00}'..='\u{0eff}' | '\u{3040}'..='\u{9fff}' | '\u{20000}'..);
    let unspaced = if text.is_ascii() { 0 } else { text.chars().filter(|&character| is_unspaced(character)).count() };
    u32::try_from(apart + unspaced / 2).unwrap_or(u32::MAX)
}

/// The encoding that a page declares in its head.
pub(super) fn declared_encoding(bytes: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(HEAD_BYTES)]).to_ascii_lowercase();
    let behind = &head[head.find("charset=")? + "charset=".len()..];
    let label: String = behind
        .trim_start_matches(['"', '\''])
        .chars()
        .take_while(|character| character.is_ascii_alphanumeric() || "-_:.".contains(*character))
        .collect();
    (!label.is_empty()).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENTENCE: &str =
        "The river rose by more than a metre within one night, and nobody who lived beside it had been told.";

    fn page(body: &str) -> String {
        format!(
            "<html><head><title>A  flood</title><script>if (a < b) {{ '<p>' }}</script></head><body>{body}</body></html>"
        )
    }

    #[test]
    fn the_article_stays_and_the_menu_goes() {
        let html = page(&format!(
            "<ul><li><a href=/>Home</a><li><a href=/news>News</a><li><a href=/x>Sport &amp; games</a></ul>\
             <h1>A flood</h1><p>{SENTENCE}<p>One short line.</p><p>{SENTENCE} <b>So</b> it&nbsp;was.<br>Then:</p>\
             <nav><p>{SENTENCE}</nav><footer>{SENTENCE}</footer><p><a href=1>Privacy</a> <a href=2>Imprint</a></p>"
        ));
        let read = Page::read(&html);
        assert_eq!(read.title, "A flood");
        let text = read.main_text();
        let expected = format!("A flood\n\n{SENTENCE}\n\nOne short line.\n\n{SENTENCE} So it was.\nThen:");
        assert_eq!(text, expected, "{:#?}", read.blocks);
        assert!(read.all_text().contains("- Home\n- News\n- Sport & games"));
    }

    #[test]
    fn a_page_without_an_article_gives_all() {
        assert_eq!(main_text("<p>Hello</p><div>there</div>"), "Hello\n\nthere");
        assert_eq!(main_text("no tags"), "no tags");
        assert_eq!(main_text(""), "");
    }

    #[test]
    fn code_keeps_its_lines() {
        let text = main_text(&format!("<p>{SENTENCE}</p><pre>\n  let a = 1;\n    let b;\n</pre><p>{SENTENCE}</p>"));
        assert_eq!(text, format!("{SENTENCE}\n\n  let a = 1;\n    let b;\n\n{SENTENCE}"));
    }

    #[test]
    fn hostile_pages_are_read_in_time() {
        let deep = "<div>".repeat(1_000_000);
        assert_eq!(main_text(&deep), "");
        let many = "<p>x".repeat(BLOCKS_MAX + 1000);
        assert_eq!(main_text(&many).matches('x').count(), BLOCKS_MAX + 1000);
        let unclosed = format!("<nav><a href={}", "&lt;".repeat(1_000_000));
        main_text(&unclosed);
        main_text(&"<!--".repeat(500_000));
        main_text(&"<![CDATA[".repeat(100_000));
        main_text(&format!("<a {}", "b=c ".repeat(100_000)));
    }

    #[test]
    fn declared_encodings() {
        assert_eq!(declared_encoding(b"<meta charset=\"ISO-8859-1\">").as_deref(), Some("iso-8859-1"));
        let older = b"<meta http-equiv=content-type content='text/html; charset=koi8-r'>";
        assert_eq!(declared_encoding(older).as_deref(), Some("koi8-r"));
        assert_eq!(declared_encoding(b"<p>charset"), None);
    }
}
