//! Stop strings in a stream: what may still become one is held back.

/// Passes text through until a stop string is complete.
#[derive(Debug)]
pub(super) struct StopFilter {
    stops: Vec<String>,
    held: String,
}

impl StopFilter {
    /// Empty strings stop nothing.
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Adds text; returns what is certainly part of the answer, and whether a stop string was completed: the one that
    /// is complete first, and of those that are complete at the same character the longest.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop).map(|at| (at + stop.len(), at))).min();
        if let Some((_, at)) = found {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let kept = self.stops.iter().map(|stop| self.beginning_at_end(stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - kept);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// The end of the text: what was held back was no stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end of what is held that begin `stop`.
    fn beginning_at_end(&self, stop: &str) -> usize {
        let longest = stop.len().min(self.held.len() + 1) - 1;
        (1..=longest).rev().find(|&len| stop.is_char_boundary(len) && self.held.ends_with(&stop[..len])).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `pieces`; returns what came out of each, what came at the end, and whether it stopped.
    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, String, bool) {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut filter = StopFilter::new(&stops);
        let mut out = Vec::new();
        for piece in pieces {
            let (text, stopped) = filter.push(piece);
            out.push(text);
            if stopped {
                return (out, String::new(), true);
            }
        }
        (out, filter.finish(), false)
    }

    #[test]
    fn a_stop_string_over_several_pieces_never_shows() {
        assert_eq!(run(&["END"], &["ab E", "N", "D cd"]).0.concat(), "ab ");
        assert!(run(&["END"], &["ab E", "N", "D cd"]).2);
    }

    #[test]
    fn what_was_no_stop_string_comes_later() {
        let (out, rest, stopped) = run(&["END"], &["ab E", "N", "x", "EN"]);
        assert_eq!((out.concat() + &rest, stopped), ("ab ENxEN".to_owned(), false));
        assert_eq!(out, ["ab ", "", "ENx", ""]);
    }

    #[test]
    fn repeated_beginnings_are_not_missed() {
        assert_eq!(
            run(&["aab"], &["a", "a", "a", "b"]),
            (vec!["".into(), "".into(), "a".into(), "".into()], String::new(), true)
        );
    }

    #[test]
    fn the_first_complete_stop_string_ends_the_answer_however_the_text_comes() {
        for pieces in [&["xabcX"][..], &["x", "a", "b", "c", "X"], &["xab", "cX"]] {
            let (out, _, stopped) = run(&["abcX", "bc"], pieces);
            assert_eq!((out.concat(), stopped), ("xa".to_owned(), true), "{pieces:?}");
        }
        assert_eq!(run(&["cd", "bcd"], &["abcd"]).0.concat(), "a");
    }

    #[test]
    fn characters_of_several_bytes_stay_whole() {
        let (out, rest, stopped) = run(&["日本"], &["東日", "曜", "日本"]);
        assert_eq!((out.concat() + &rest, stopped), ("東日曜".to_owned(), true));
        assert_eq!(out[0], "東");
    }

    #[test]
    fn without_stop_strings_everything_passes_at_once() {
        assert_eq!(run(&[""], &["a", "b"]), (vec!["a".into(), "b".into()], String::new(), false));
    }
}
