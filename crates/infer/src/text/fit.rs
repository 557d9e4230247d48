//! A conversation that outgrows the context loses its oldest whole turns.

use tsumugi_tokenizer::Message;

use super::{GenerateError, Prompt, TextModel};

/// A turn is dropped before an answer would be squeezed into less than this share of the context (as on the page).
const ANSWER_SHARE: usize = 4;

/// Drops the oldest turns (a user's message and what follows it up to the next one) until the rest leaves a quarter of
/// the context for the answer. System messages at the beginning and the last turn always stay. Returns what is left
/// and how many turns were dropped.
pub fn fit_to_context(model: &dyn TextModel, messages: &[Message]) -> Result<(Vec<Message>, usize), GenerateError> {
    let system = messages.iter().take_while(|message| message.role == "system").count();
    let mut starts: Vec<usize> =
        (system..messages.len()).filter(|&index| index == system || messages[index].role == "user").collect();
    let last = starts.pop().unwrap_or(system);
    starts.push(last);
    let room = model.context_length() - model.context_length() / ANSWER_SHARE;
    for (dropped, &start) in starts.iter().enumerate() {
        let kept: Vec<Message> = messages[..system].iter().chain(&messages[start..]).cloned().collect();
        if start == last || model.count_tokens(&Prompt::Chat(kept.clone()))? <= room {
            return Ok((kept, dropped));
        }
    }
    Ok((messages.to_vec(), 0))
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::super::{Completion, Event, Request};
    use super::*;

    /// A token per character.
    struct Counter(usize);

    impl TextModel for Counter {
        fn name(&self) -> &str {
            "counter"
        }
        fn context_length(&self) -> usize {
            self.0
        }
        fn has_chat_template(&self) -> bool {
            true
        }
        fn count_tokens(&self, prompt: &Prompt) -> Result<usize, GenerateError> {
            let Prompt::Chat(messages) = prompt else { return Err(GenerateError::EmptyPrompt) };
            Ok(messages.iter().map(|message| message.content.len()).sum())
        }
        fn generate(
            &self,
            _: &Request,
            _: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
        ) -> Result<Completion, GenerateError> {
            Err(GenerateError::EmptyPrompt)
        }
    }

    fn conversation() -> Vec<Message> {
        let said =
            [("system", "ssss"), ("user", "aaaa"), ("assistant", "bbbb"), ("user", "cccc"), ("assistant", "dddd")];
        let mut messages: Vec<Message> = said.map(|(role, text)| Message::new(role, text)).to_vec();
        messages.push(Message::new("user", "eeee"));
        messages
    }

    fn fitted(context: usize) -> (String, usize) {
        let (messages, dropped) = fit_to_context(&Counter(context), &conversation()).unwrap();
        (messages.iter().map(|message| &message.content[..1]).collect(), dropped)
    }

    #[test]
    fn the_oldest_whole_turns_go_and_the_system_message_stays() {
        assert_eq!(fitted(32), ("sabcde".into(), 0));
        assert_eq!(fitted(30), ("scde".into(), 1));
        assert_eq!(fitted(20), ("se".into(), 2));
        assert_eq!(fitted(1), ("se".into(), 2), "the last turn stays, and the model will say that it is too long");
    }

    #[test]
    fn nothing_said_is_nothing_dropped() {
        assert_eq!(fit_to_context(&Counter(8), &[]), Ok((vec![], 0)));
    }
}
