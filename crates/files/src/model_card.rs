//! What people say about a model: the head of its model card (`README.md`), the words of a GGUF file.

use crate::model_files::ModelFiles;

/// Licence, origin and purpose. What is not said is empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ModelCard {
    /// As they are written: `apache-2.0`.
    pub licences: Vec<String>,
    /// Models that it was made from.
    pub bases: Vec<String>,
    /// Names of data sets.
    pub datasets: Vec<String>,
    /// `text-generation`.
    pub task: Option<String>,
}

impl ModelCard {
    /// Of a model's files.
    pub fn of(model: &ModelFiles) -> Self {
        // A card that is no text says nothing.
        let mut card = model.text("README.md").ok().flatten().map(Self::of_text).unwrap_or_default();
        if let Some(metadata) = model.gguf() {
            let text = |key: &str| metadata.get(key).and_then(|value| value.as_str()).map(str::to_owned);
            if card.licences.is_empty() {
                card.licences.extend(text("general.license"));
            }
            if card.bases.is_empty() {
                let address = text("general.base_model.0.repo_url");
                let base = address.map(|url| url.trim_start_matches("https://huggingface.co/").to_owned());
                card.bases.extend(base.or_else(|| text("general.base_model.0.name")));
            }
        }
        card
    }

    /// The lines between the first two `---` are YAML; of this only plain keys of words and lists of words are read.
    fn of_text(text: &str) -> Self {
        let mut card = Self::default();
        let mut key = "";
        let mut lines = text.trim_start_matches('\u{feff}').lines();
        if lines.next().map(str::trim_end) != Some("---") {
            return card;
        }
        for line in lines.take_while(|line| line.trim_end() != "---") {
            if let Some(item) = line.trim_start().strip_prefix("- ") {
                card.add(key, item);
            } else if let Some((name, value)) = line.split_once(':').filter(|_| !line.starts_with([' ', '#'])) {
                key = name;
                match value.trim().strip_prefix('[').and_then(|list| list.strip_suffix(']')) {
                    Some(list) => list.split(',').for_each(|item| card.add(key, item)),
                    None => card.add(key, value),
                }
            } else {
                key = "";
            }
        }
        card
    }

    fn add(&mut self, key: &str, word: &str) {
        let word = word.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        if word.is_empty() {
            return;
        }
        match key {
            // `license: other` has its name beside it.
            "license" if word != "other" => self.licences.push(word.to_owned()),
            "license_name" => self.licences.push(word.to_owned()),
            "base_model" => self.bases.push(word.to_owned()),
            "datasets" => self.datasets.push(word.to_owned()),
            "pipeline_tag" => self.task = Some(word.to_owned()),
            _ => {}
        }
    }

    /// The card of a model that was made from this one, where there is something to say: under the same licences. The lines
    /// are YAML, of which a word in quotes holds any other.
    pub fn of_derived(&self) -> Option<String> {
        let quoted: Vec<String> = self.licences.iter().map(|name| format!("{name:?}")).collect();
        let lines = match quoted.as_slice() {
            [] => return None,
            [one] if self.licences[0] == one.trim_matches('"') => format!("license: {}", self.licences[0]),
            all => format!("license: [{}]", all.join(", ")),
        };
        Some(format!("---\n{lines}\n---\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_card() {
        let text = "---\nlanguage: en\nlicense: other # none\nlicense_name: \"llama3.2\"\nbase_model:\n- a/b\n  - c/d\n\
                    datasets: [x, 'y/z']\npipeline_tag: text-generation\nmodel-index:\n- name: n\n---\nlicense: mit\n";
        let card = ModelCard::of_text(text);
        assert_eq!(card.licences, ["llama3.2"]);
        assert_eq!(card.bases, ["a/b", "c/d"]);
        assert_eq!(card.datasets, ["x", "y/z"]);
        assert_eq!(card.task.as_deref(), Some("text-generation"));
        assert_eq!(ModelCard::of_text("license: mit\n"), ModelCard::default(), "there is no head");
        assert_eq!(ModelCard::of_text(""), ModelCard::default());
    }

    #[test]
    fn what_is_made_of_a_model_has_its_licence() {
        for licences in [&["mit"][..], &["a b"], &["mit", "apache-2.0"]] {
            let card =
                ModelCard { licences: licences.iter().map(|&name| name.into()).collect(), ..ModelCard::default() };
            let text = card.of_derived().expect("there is a licence");
            assert_eq!(ModelCard::of_text(&text), card, "{text}");
        }
        assert_eq!(ModelCard::default().of_derived(), None);
    }
}
