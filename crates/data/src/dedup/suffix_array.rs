//! Suffix arrays by induced sorting (SA-IS; Nong, Zhang and Chan 2009): linear time, some 12 bytes for each byte of text.

const NONE: u32 = u32::MAX;

/// Where the suffixes of `text` begin, in the order of the suffixes.
///
/// ```
/// use tsumugi_data::dedup::suffix_array::suffix_array;
/// assert_eq!(suffix_array(b"banana"), [5, 3, 1, 0, 4, 2]);
/// ```
///
/// # Panics
/// The text is 4 GiB or longer.
pub fn suffix_array(text: &[u8]) -> Vec<u32> {
    assert!(text.len() < NONE as usize, "a text of {} bytes", text.len());
    sort(text, 256)
}

/// What is sorted: bytes, or the names that stand for parts of the text one level above.
trait Symbol: Copy + Ord {
    fn index(self) -> usize;
}

impl Symbol for u8 {
    fn index(self) -> usize {
        usize::from(self)
    }
}

impl Symbol for u32 {
    fn index(self) -> usize {
        self as usize
    }
}

fn sort<S: Symbol>(text: &[S], symbols: usize) -> Vec<u32> {
    if text.is_empty() {
        return Vec::new();
    }
    let inducing = Inducing::new(text, symbols);
    // Suffixes that are smaller than the next and follow a larger one: all others follow from their order.
    let leftmost: Vec<u32> =
        (1..text.len()).filter(|&place| inducing.is_leftmost(place)).map(|place| place as u32).collect();
    let mut array = inducing.induce(&leftmost);
    array.retain(|&place| inducing.is_leftmost(place as usize));
    let (names, count) = name(text, &leftmost, &array);
    let order = if count == leftmost.len() {
        array
    } else {
        drop(array);
        let order = sort(&names, count);
        order.into_iter().map(|index| leftmost[index as usize]).collect()
    };
    inducing.induce(&order)
}

/// Names the parts from one leftmost place to the next in their order, equal ones alike. Gives the names in the order of the
/// text, and how many there are.
fn name<S: Symbol>(text: &[S], leftmost: &[u32], sorted: &[u32]) -> (Vec<u32>, usize) {
    // No two of the places are neighbours, so that half of one is an index.
    let mut ends = vec![NONE; text.len() / 2 + 1];
    for (index, &place) in leftmost.iter().enumerate() {
        ends[place as usize / 2] = leftmost.get(index + 1).copied().unwrap_or(NONE);
    }
    let part = |place: u32| match ends[place as usize / 2] {
        NONE => None,
        end => Some(&text[place as usize..=end as usize]),
    };
    let mut names = vec![NONE; text.len() / 2 + 1];
    let mut count = 0;
    for (index, &place) in sorted.iter().enumerate() {
        // The last part runs into the end of the text: it is like no other.
        let is_new = index == 0 || part(place).is_none() || part(place) != part(sorted[index - 1]);
        count += usize::from(is_new);
        names[place as usize / 2] = count as u32 - 1;
    }
    (leftmost.iter().map(|&place| names[place as usize / 2]).collect(), count)
}

/// A text with what induced sorting must know of it.
struct Inducing<'t, S> {
    text: &'t [S],
    /// Whether the suffix is smaller than the next one. The last is not: the empty one is the smallest.
    is_smaller: Vec<bool>,
    /// Where the suffixes that begin with a symbol begin in the array, and one more.
    starts: Vec<u32>,
}

impl<'t, S: Symbol> Inducing<'t, S> {
    fn new(text: &'t [S], symbols: usize) -> Self {
        let mut is_smaller = vec![false; text.len()];
        for place in (0..text.len() - 1).rev() {
            let (here, next) = (text[place], text[place + 1]);
            is_smaller[place] = here < next || here == next && is_smaller[place + 1];
        }
        let mut starts = vec![0; symbols + 1];
        text.iter().for_each(|symbol| starts[symbol.index() + 1] += 1);
        (0..symbols).for_each(|symbol| starts[symbol + 1] += starts[symbol]);
        Self { text, is_smaller, starts }
    }

    fn is_leftmost(&self, place: usize) -> bool {
        place > 0 && self.is_smaller[place] && !self.is_smaller[place - 1]
    }

    /// All suffixes from the order of the leftmost ones; from any order of these, all are sorted by their part up to the next.
    fn induce(&self, leftmost: &[u32]) -> Vec<u32> {
        let mut array = vec![NONE; self.text.len()];
        let mut ends = self.starts[1..].to_vec();
        let put_last = |array: &mut Vec<u32>, ends: &mut Vec<u32>, place: usize| {
            let end = &mut ends[self.text[place].index()];
            *end -= 1;
            array[*end as usize] = place as u32;
        };
        for &place in leftmost.iter().rev() {
            put_last(&mut array, &mut ends, place as usize);
        }
        // From small to large: a larger suffix stands behind the one that begins a place after it.
        let mut starts = self.starts.clone();
        let mut put_first = |array: &mut Vec<u32>, place: usize| {
            let start = &mut starts[self.text[place].index()];
            array[*start as usize] = place as u32;
            *start += 1;
        };
        put_first(&mut array, self.text.len() - 1);
        for index in 0..array.len() {
            let place = array[index];
            if place != NONE && place > 0 && !self.is_smaller[place as usize - 1] {
                put_first(&mut array, place as usize - 1);
            }
        }
        // From large to small: a smaller one before it. Those that were put in first are put in again, in their places.
        ends.copy_from_slice(&self.starts[1..]);
        for index in (0..array.len()).rev() {
            let place = array[index];
            if place != NONE && place > 0 && self.is_smaller[place as usize - 1] {
                put_last(&mut array, &mut ends, place as usize - 1);
            }
        }
        array
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsumugi_base::rng::{Key, Stream};

    /// The reference: suffixes sorted by comparing them.
    fn reference(text: &[u8]) -> Vec<u32> {
        let mut array: Vec<u32> = (0..text.len() as u32).collect();
        array.sort_by_key(|&place| &text[place as usize..]);
        array
    }

    #[test]
    fn every_small_text_is_sorted_as_by_comparing() {
        for length in 0..=9u32 {
            for number in 0..3u32.pow(length) {
                let text: Vec<u8> = (0..length).map(|place| (number / 3u32.pow(place) % 3) as u8).collect();
                assert_eq!(suffix_array(&text), reference(&text), "{text:?}");
            }
        }
    }

    #[test]
    fn long_texts_are_sorted_as_by_comparing() {
        let mut stream = Stream::new(Key::from_seed(2));
        for symbols in [1, 2, 4, 256] {
            let text: Vec<u8> = (0..2000).map(|_| stream.below(symbols) as u8).collect();
            assert_eq!(suffix_array(&text), reference(&text), "{symbols} symbols");
            let twice = [&text[..700], &text[..700], &text[3..500]].concat();
            assert_eq!(suffix_array(&twice), reference(&twice), "{symbols} symbols, repeated");
        }
    }
}
