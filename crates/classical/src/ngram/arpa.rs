//! ARPA, the text format that n-gram programs share: the numbers of n-grams, then a section for each order with lines
//! `log10 probability <tab> words <tab> log10 back-off weight`.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use tsumugi_base::FileError;
use tsumugi_base::limits::{NGRAM_ORDER_MAX, NGRAM_WORD_BYTES_MAX};

use super::model_file::{Entry, ModelWriter};
use super::text::words;
use super::vocabulary::Vocabulary;
use super::{BEGIN, END, FIRST_WORD, NgramError, UNKNOWN, WordId};

pub(super) const END_MARK: &str = "\\end\\\n";

/// `\data\` with the number of n-grams of each order.
pub(super) fn header(counts: &[u64]) -> String {
    let mut text = String::from("\\data\\\n");
    for (count, order) in counts.iter().zip(1..) {
        text.push_str(&format!("ngram {order}={count}\n"));
    }
    text.push('\n');
    text
}

/// The line before the n-grams of an order.
pub(super) fn section(order: usize) -> String {
    format!("\\{order}-grams:\n")
}

/// One n-gram; without a back-off weight on the highest order.
pub(super) fn line<'w>(
    text: &mut Vec<u8>,
    probability: f32,
    words: impl Iterator<Item = &'w [u8]>,
    backoff: Option<f32>,
) {
    // Writing into memory cannot fail. `+ 0.0` makes 0 of -0.
    let _ = write!(text, "{}", probability + 0.0);
    for (word, i) in words.zip(0..) {
        text.push(if i == 0 { b'\t' } else { b' ' });
        text.extend_from_slice(word);
    }
    if let Some(backoff) = backoff {
        let _ = write!(text, "\t{}", backoff + 0.0);
    }
    text.push(b'\n');
}

/// What a file without `<unk>`, `<s>` or `</s>` gives them, log10: as good as nothing.
const ABSENT_LOG10: f32 = -100.0;

/// The n-grams of one order as they stand in the file, then sorted.
#[derive(Default)]
struct Section {
    /// `order` words for each, last word first.
    reversed: Vec<WordId>,
    /// log10 probability and back-off weight.
    weights: Vec<(f32, f32)>,
    /// Where each stands in the file.
    lines: Vec<u64>,
}

/// Reads an ARPA file into the bytes of a model file.
///
/// # Errors
/// With the line, if the file is not as the format says: numbers that are none, words that are no unigrams, n-grams twice
/// or without their ending (`b c` for `a b c`), other numbers of n-grams than announced.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, NgramError> {
    let file = File::open(path).map_err(|source| FileError::read(path, source))?;
    let mut lines = Lines { path, input: BufReader::with_capacity(1 << 18, file), line: Vec::new(), number: 0 };
    let announced = lines.announced()?;
    let mut vocabulary = Vocabulary::new();
    let mut sections = Vec::with_capacity(announced.len());
    for order in 1..=announced.len() {
        sections.push(lines.section(order, &announced, &mut vocabulary)?);
    }
    if lines.next_filled()? != Some(END_MARK.trim_end().as_bytes()) {
        return Err(lines.error("here should be `\\end\\`"));
    }
    complete_unigrams(&mut sections[0]);
    build(&sections, &vocabulary, &lines)
}

/// The file line by line.
struct Lines<'p, R> {
    path: &'p Path,
    input: R,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<'_, R> {
    fn error(&self, reason: impl Into<String>) -> NgramError {
        self.error_at(self.number, reason)
    }

    fn error_at(&self, line: u64, reason: impl Into<String>) -> NgramError {
        NgramError::Arpa { path: self.path.to_owned(), line, reason: reason.into() }
    }

    /// The next line without its end; none at the end of the file.
    fn next(&mut self) -> Result<Option<&[u8]>, NgramError> {
        self.line.clear();
        let mut limited = (&mut self.input).take(NGRAM_WORD_BYTES_MAX as u64);
        let count = limited.read_until(b'\n', &mut self.line).map_err(|source| FileError::read(self.path, source))?;
        self.number += u64::from(count > 0);
        if count == NGRAM_WORD_BYTES_MAX {
            return Err(self.error("the line is too long for an n-gram"));
        }
        Ok((count > 0).then(|| self.line.trim_ascii_end()))
    }

    /// The next line that is not empty.
    fn next_filled(&mut self) -> Result<Option<&[u8]>, NgramError> {
        loop {
            match self.next()? {
                None => return Ok(None),
                Some([]) => {}
                Some(_) => return Ok(Some(self.line.trim_ascii_end())),
            }
        }
    }

    /// The numbers of n-grams behind `\data\`, up to the empty line or the first section.
    fn announced(&mut self) -> Result<Vec<u64>, NgramError> {
        // Text before `\data\` is a comment.
        while let Some(line) = self.next()? {
            if line == b"\\data\\" {
                break;
            }
            if self.number > 1000 {
                return Err(self.error("no `\\data\\` in the first 1,000 lines"));
            }
        }
        let mut counts = Vec::new();
        while let Some(line) = self.next()? {
            if line.is_empty() {
                break;
            }
            let expected = format!("ngram {}=", counts.len() + 1);
            let count = line.strip_prefix(expected.as_bytes()).and_then(number::<u64>);
            counts.push(count.ok_or_else(|| self.error(format!("here should be `{expected}` and a number")))?);
            if counts.len() > NGRAM_ORDER_MAX {
                return Err(self.error(format!("more than {NGRAM_ORDER_MAX} orders")));
            }
        }
        match counts.as_slice() {
            [] => Err(self.error("no `\\data\\` with numbers of n-grams")),
            _ => Ok(counts),
        }
    }

    fn section(&mut self, order: usize, announced: &[u64], vocabulary: &mut Vocabulary) -> Result<Section, NgramError> {
        let title = section(order);
        if self.next_filled()? != Some(title.trim_end().as_bytes()) {
            return Err(self.error(format!("here should be `{}`", title.trim_end())));
        }
        let mut section = Section::default();
        while self.next()?.is_some_and(|line| !line.is_empty()) {
            if section.lines.len() as u64 == announced[order - 1] {
                return Err(self.error(format!("more {order}-grams than the {} announced", announced[order - 1])));
            }
            let line = self.line.trim_ascii_end();
            match entry(line, order, order == announced.len(), vocabulary, &mut section)? {
                Ok(()) => section.lines.push(self.number),
                Err(reason) => return Err(self.error(reason)),
            }
        }
        if section.lines.len() as u64 != announced[order - 1] {
            let (found, announced) = (section.lines.len(), announced[order - 1]);
            return Err(self.error(format!("{announced} {order}-grams are announced, but there are {found}")));
        }
        Ok(section)
    }
}

fn number<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.trim_ascii().parse().ok()
}

/// Reads one line; the inner error is what is wrong with it.
fn entry(
    line: &[u8],
    order: usize,
    is_last: bool,
    vocabulary: &mut Vocabulary,
    section: &mut Section,
) -> Result<Result<(), String>, NgramError> {
    let fields: Vec<&[u8]> = words(line).take(order + 3).collect();
    if !(order + 1..=order + 2).contains(&fields.len()) {
        return Ok(Err(format!("a line of {order}-grams has a number, {order} words, and perhaps one more number")));
    }
    let Some(probability) = number::<f32>(fields[0]).filter(|log10| *log10 <= 0.0 && log10.is_finite()) else {
        return Ok(Err(format!("`{}` is no log10 of a probability", String::from_utf8_lossy(fields[0]))));
    };
    let backoff = match fields.get(order + 1) {
        None => 0.0,
        Some(_) if is_last => return Ok(Err("the highest order has no back-off weights".into())),
        Some(field) => match number::<f32>(field).filter(|log10| log10.is_finite()) {
            Some(backoff) => backoff,
            None => return Ok(Err(format!("`{}` is no log10 of a back-off weight", String::from_utf8_lossy(field)))),
        },
    };
    let known = vocabulary.len();
    for word in fields[1..=order].iter().rev() {
        let id = vocabulary.id(word)?;
        if order > 1 && id as usize >= known {
            return Ok(Err(format!("the word `{}` is no unigram", String::from_utf8_lossy(word))));
        }
        section.reversed.push(id);
    }
    section.weights.push((probability, backoff));
    Ok(Ok(()))
}

/// A file need not have the special words.
fn complete_unigrams(section: &mut Section) {
    let present: HashSet<WordId> = section.reversed.iter().copied().filter(|&word| word < FIRST_WORD).collect();
    for word in [UNKNOWN, BEGIN, END] {
        if !present.contains(&word) {
            section.reversed.push(word);
            section.weights.push((ABSENT_LOG10, 0.0));
            section.lines.push(0);
        }
    }
}

/// Sorts every order and writes the trie.
fn build<R: BufRead>(sections: &[Section], vocabulary: &Vocabulary, lines: &Lines<R>) -> Result<Vec<u8>, NgramError> {
    let sorted: Vec<Vec<u32>> = sections.iter().zip(1..).map(|(section, order)| section.sorted(order)).collect();
    let mut children: Vec<Vec<u32>> = Vec::with_capacity(sections.len());
    for (n, order) in sorted.iter().enumerate() {
        let twice =
            order.windows(2).find(|pair| sections[n].ngram(n + 1, pair[0]) == sections[n].ngram(n + 1, pair[1]));
        if let Some(pair) = twice {
            let line = pair.iter().map(|&place| sections[n].lines[place as usize]).max().unwrap_or_default();
            return Err(lines.error_at(line, "this n-gram stands here for the second time"));
        }
        if n > 0 {
            children.push(count_children(n, sections, &sorted, lines)?);
        }
    }
    children.push(Vec::new());
    let nodes: Vec<u64> = sorted.iter().map(|level| level.len() as u64).collect();
    let failed = |source| FileError::write(lines.path, source);
    let mut writer = ModelWriter::new(Vec::new(), |id| vocabulary.word(id), &nodes).map_err(failed)?;
    for (n, (section, order)) in sections.iter().zip(&sorted).enumerate() {
        for (i, &place) in order.iter().enumerate() {
            let word = section.ngram(n + 1, place)[n];
            let (probability, backoff) = section.weights[place as usize];
            let children = children[n].get(i).map_or(0, |&count| count.into());
            writer.push(Entry { word, probability, backoff, children }).map_err(failed)?;
        }
        writer.end_level().map_err(failed)?;
    }
    Ok(writer.finish())
}

/// Of each node of the level below `n`, in order: how many n-grams of level `n` end with it.
fn count_children<R: BufRead>(
    n: usize,
    sections: &[Section],
    sorted: &[Vec<u32>],
    lines: &Lines<R>,
) -> Result<Vec<u32>, NgramError> {
    let (section, below) = (&sections[n], &sections[n - 1]);
    let mut children = vec![0; sorted[n - 1].len()];
    let mut parent = 0;
    for &place in &sorted[n] {
        let ending = &section.ngram(n + 1, place)[..n];
        while sorted[n - 1].get(parent).is_some_and(|&place| below.ngram(n, place) < ending) {
            parent += 1;
        }
        if sorted[n - 1].get(parent).is_none_or(|&place| below.ngram(n, place) != ending) {
            let line = section.lines[place as usize];
            return Err(lines.error_at(line, "this n-gram without its first word is not in the model"));
        }
        children[parent] += 1;
    }
    Ok(children)
}

impl Section {
    fn ngram(&self, order: usize, place: u32) -> &[WordId] {
        &self.reversed[place as usize * order..][..order]
    }

    /// The places of all n-grams in suffix order.
    fn sorted(&self, order: usize) -> Vec<u32> {
        let mut places: Vec<u32> = (0..self.weights.len() as u32).collect();
        places.sort_by(|&a, &b| self.ngram(order, a).cmp(self.ngram(order, b)));
        places
    }
}
