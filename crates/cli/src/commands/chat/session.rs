//! What a chat remembers and what each line does; knows no terminal.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use tsumugi_base::io::write_atomic;
use tsumugi_infer::text::{
    Completion, Event, FinishReason, GenerateError, Prompt, Request, SamplingParameters, TextModel, fit_to_context,
};
use tsumugi_tokenizer::Message;

use super::conversation_line;
use crate::commands::generate::speed;
use crate::interrupt;
use crate::output::{Failure, harmless, written};

const HELP: &str = "\
/system TEXT   set the system message and begin anew; without TEXT show it
/name NAME     say who you are; without NAME nobody
/reset         begin anew
/save FILE     write the conversation to FILE as one JSON line
/help          this
/quit          leave; so do Ctrl-D and Ctrl-C
";

/// A conversation with a model.
pub struct Session<'a> {
    model: &'a dyn TextModel,
    sampling: SamplingParameters,
    verbose: bool,
    system: Option<String>,
    name: Option<String>,
    /// User and assistant in turn; the system message is not here.
    turns: Vec<Message>,
    /// The first of `turns` that still fits.
    first: usize,
    /// Messages that the model could not answer.
    unanswered: usize,
}

impl<'a> Session<'a> {
    /// Nothing was said yet.
    pub fn new(model: &'a dyn TextModel, sampling: SamplingParameters, verbose: bool) -> Self {
        Self { model, sampling, verbose, system: None, name: None, turns: Vec::new(), first: 0, unanswered: 0 }
    }

    /// Messages that the model could not answer: a script must not take them for answered.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Sets the system message, and begins anew: the model would otherwise have answered under another one.
    pub fn set_system(&mut self, text: &str) {
        self.system = Some(text.to_owned()).filter(|text| !text.is_empty());
        self.reset();
    }

    /// Says who the user is; empty is nobody.
    pub fn set_name(&mut self, name: &str) {
        self.name = Some(name.trim().to_owned()).filter(|name| !name.is_empty());
    }

    fn reset(&mut self) {
        self.turns.clear();
        self.first = 0;
    }

    /// Does what a line asks: a command, or a message to answer. `Break` is the user's wish to leave.
    pub fn line(&mut self, line: &str, out: &mut impl Write) -> Result<ControlFlow<()>, Failure> {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let said = match word {
            "" => String::new(),
            "/help" => HELP.to_owned(),
            "/quit" | "/exit" => return Ok(ControlFlow::Break(())),
            "/reset" => {
                self.reset();
                "(a new conversation)\n".into()
            }
            "/system" if rest.is_empty() => match &self.system {
                Some(system) => format!("(system: {system})\n"),
                None => "(no system message)\n".into(),
            },
            "/system" => {
                self.set_system(rest);
                "(a new conversation)\n".into()
            }
            "/name" => {
                self.set_name(rest);
                self.name.as_ref().map_or("(you have no name)\n".into(), |name| format!("(you are {name})\n"))
            }
            "/save" => self.save(rest),
            _ if word.starts_with('/') && !word[1..].contains('/') => {
                format!("(there is no command {}; /help lists them)\n", harmless(word))
            }
            _ => {
                self.answer(line, out)?;
                String::new()
            }
        };
        put(out, &said)?;
        Ok(ControlFlow::Continue(()))
    }

    /// What is sent: the system message and the turns that fit.
    fn messages(&self) -> Vec<Message> {
        let system = self.system.iter().map(|text| Message::new("system", text.as_str()));
        system.chain(self.turns[self.first..].iter().cloned()).collect()
    }

    fn save(&self, path: &str) -> String {
        if path.is_empty() {
            return "(name a file: /save conversation.jsonl)\n".into();
        }
        if Path::new(path).exists() {
            return format!("({path} is already there; name another file)\n");
        }
        let system = self.system.iter().map(|text| Message::new("system", text.as_str()));
        let all: Vec<Message> = system.chain(self.turns.iter().cloned()).collect();
        match write_atomic(Path::new(path), conversation_line(&all).as_bytes()) {
            Ok(()) => format!("(saved to {path})\n"),
            Err(error) => format!("({error})\n"),
        }
    }

    /// Answers `text`, streaming into `out`. What the model cannot do leaves the conversation as it was.
    fn answer(&mut self, text: &str, out: &mut impl Write) -> Result<(), Failure> {
        let before = (self.turns.len(), self.first);
        self.turns.push(Message { role: "user".into(), content: text.into(), name: self.name.clone() });
        let outcome = self.generate(out);
        match outcome {
            // Broken off before the first word: nothing was asked, nothing was answered.
            Ok(completion) if completion.finish_reason == FinishReason::Cancelled && completion.text.is_empty() => {
                self.turns.truncate(before.0);
                self.first = before.1;
                put(out, &ending(&completion, self.verbose))
            }
            Ok(completion) => {
                put(out, &ending(&completion, self.verbose))?;
                self.turns.push(Message::new("assistant", completion.text));
                self.sampling.seed = self.sampling.seed.wrapping_add(1);
                Ok(())
            }
            Err(Trouble::Output(failure)) => Err(failure),
            Err(Trouble::Model(error)) => {
                self.turns.truncate(before.0);
                self.first = before.1;
                self.unanswered += 1;
                explain(error, out)
            }
        }
    }

    /// Leaves out the oldest whole turns where the context asks for it, and generates.
    fn generate(&mut self, out: &mut impl Write) -> Result<Completion, Trouble> {
        let all = self.messages();
        let (messages, left_out) = fit_to_context(self.model, &all).map_err(Trouble::Model)?;
        self.first += all.len() - messages.len();
        let request = Request {
            prompt: Prompt::Chat(messages),
            sampling: self.sampling.clone(),
            max_tokens: None,
            stop: Vec::new(),
        };
        // Said only when the answer begins: a message that is too long by itself leaves nothing out.
        let mut said = if left_out > 0 { left_out_text(left_out) } else { String::new() };
        let mut printed = Ok(());
        let completion = self.model.generate(&request, &mut |event| {
            if let Event::Text(text) = event {
                said.push_str(&harmless(text));
            }
            printed = put(out, &std::mem::take(&mut said));
            if printed.is_err() || interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        printed.map_err(Trouble::Output)?;
        completion.map_err(Trouble::Model)
    }
}

enum Trouble {
    Output(Failure),
    Model(GenerateError),
}

fn put(out: &mut impl Write, text: &str) -> Result<(), Failure> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error: io::Error| written(&error))
}

/// The chat page's words.
fn left_out_text(turns: usize) -> String {
    match turns {
        1 => "(the oldest turn no longer fit and was left out)\n".into(),
        _ => format!("(the oldest {turns} turns no longer fit and were left out)\n"),
    }
}

/// What follows the answer's text.
fn ending(completion: &Completion, verbose: bool) -> String {
    let mut text = String::from("\n");
    match completion.finish_reason {
        FinishReason::Stop => {}
        FinishReason::Length => text.push_str("(cut off: the context is full)\n"),
        FinishReason::Cancelled => text.push_str("(broken off)\n"),
    }
    if verbose {
        text.push_str(&format!("({})\n", speed(completion)));
    }
    text
}

/// What the user can mend is said and the chat goes on; our own mistakes end it.
fn explain(error: GenerateError, out: &mut impl Write) -> Result<(), Failure> {
    match error {
        GenerateError::ContextLengthExceeded { .. } => put(out, &format!("({error}: shorten the message)\n")),
        GenerateError::Template { .. } | GenerateError::EmptyPrompt => put(out, &format!("({error})\n")),
        other => Err(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A token per word of the messages; the answer is always `aye`. Keeps what it was asked.
    struct Mock {
        context: usize,
        asked: Mutex<Vec<Vec<Message>>>,
    }

    impl Mock {
        fn new(context: usize) -> Self {
            Self { context, asked: Mutex::default() }
        }
    }

    impl tsumugi_infer::text::TextModel for Mock {
        fn name(&self) -> &str {
            "mock"
        }

        fn context_length(&self) -> usize {
            self.context
        }

        fn has_chat_template(&self) -> bool {
            true
        }

        fn count_tokens(&self, prompt: &Prompt) -> Result<usize, GenerateError> {
            let Prompt::Chat(messages) = prompt else { panic!("{prompt:?}") };
            Ok(messages.iter().map(|message| message.content.split_whitespace().count()).sum())
        }

        fn generate(
            &self,
            request: &Request,
            on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
        ) -> Result<Completion, GenerateError> {
            let Prompt::Chat(messages) = &request.prompt else { panic!("{request:?}") };
            self.asked.lock().unwrap().push(messages.clone());
            let prompt_tokens = self.count_tokens(&request.prompt)?;
            if prompt_tokens >= self.context {
                let (model, context_length) = ("mock".into(), self.context);
                return Err(GenerateError::ContextLengthExceeded { model, prompt_tokens, context_length });
            }
            let (text, finish_reason) = match messages.last().unwrap().content.as_str() {
                "nothing" => ("", FinishReason::Cancelled),
                _ => ("aye", FinishReason::Stop),
            };
            let _ = on_event(Event::Text(if text.is_empty() { "" } else { "a\x1bye" }));
            Ok(Completion {
                text: text.into(),
                prompt_tokens,
                completion_tokens: 1,
                finish_reason,
                prompt_seconds: 0.0,
                completion_seconds: 0.1,
            })
        }
    }

    fn say(session: &mut Session<'_>, line: &str) -> String {
        let mut out = Vec::new();
        assert!(session.line(line, &mut out).unwrap().is_continue());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_oldest_whole_turns_are_left_out_and_it_is_said() {
        let mock = Mock::new(12);
        let mut session = Session::new(&mock, SamplingParameters::default(), false);
        session.set_system("be kind");
        assert_eq!(say(&mut session, "one two three"), "a\u{FFFD}ye\n");
        assert_eq!(say(&mut session, "four five"), "a\u{FFFD}ye\n");
        // 2 + (3 + 1) + (2 + 1) + 4 words, and a quarter of 12 must stay free: both turns go.
        let answer = say(&mut session, "six seven eight nine");
        assert_eq!(answer, "(the oldest turn no longer fit and was left out)\na\u{FFFD}ye\n");
        let asked = mock.asked.lock().unwrap();
        let last: Vec<&str> = asked.last().unwrap().iter().map(|message| message.content.as_str()).collect();
        assert_eq!(last, ["be kind", "four five", "aye", "six seven eight nine"]);
    }

    #[test]
    fn a_message_that_can_never_fit_is_refused_and_forgotten() {
        let mock = Mock::new(4);
        let mut session = Session::new(&mock, SamplingParameters::default(), false);
        say(&mut session, "hello");
        let answer = say(&mut session, "a b c d e");
        assert_eq!(answer, "(the prompt has 5 tokens, but the context of `mock` holds 4: shorten the message)\n");
        assert_eq!(session.turns.len(), 2);
        assert_eq!(session.first, 0);
    }

    #[test]
    fn an_answer_broken_off_before_its_first_word_leaves_no_turn() {
        let mock = Mock::new(100);
        let mut session = Session::new(&mock, SamplingParameters::default(), false);
        say(&mut session, "hello");
        assert_eq!(say(&mut session, "nothing"), "\n(broken off)\n");
        assert_eq!((session.turns.len(), session.first), (2, 0));
        say(&mut session, "and now?");
        let asked = mock.asked.lock().unwrap();
        let last: Vec<&str> = asked.last().unwrap().iter().map(|message| message.content.as_str()).collect();
        assert_eq!(last, ["hello", "aye", "and now?"]);
    }

    #[test]
    fn commands_change_the_conversation() {
        let mock = Mock::new(100);
        let mut session = Session::new(&mock, SamplingParameters::default(), false);
        assert_eq!(say(&mut session, "/system"), "(no system message)\n");
        assert_eq!(say(&mut session, "/name JULIET"), "(you are JULIET)\n");
        say(&mut session, "who is there?");
        assert_eq!(mock.asked.lock().unwrap()[0][0].name.as_deref(), Some("JULIET"));
        assert_eq!(say(&mut session, "/system You are ROMEO."), "(a new conversation)\n");
        assert_eq!(session.turns.len(), 0);
        assert_eq!(say(&mut session, "/sytem"), "(there is no command /sytem; /help lists them)\n");
        assert_eq!(say(&mut session, ""), "");
        assert!(say(&mut session, "/help").contains("/save FILE"));
        assert!(session.line("/quit", &mut Vec::new()).unwrap().is_break());
    }

    #[test]
    fn a_saved_conversation_is_training_data() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.jsonl");
        let mock = Mock::new(100);
        let mut session = Session::new(&mock, SamplingParameters::default(), false);
        session.set_system("You are ROMEO.");
        say(&mut session, "hello");
        let save = format!("/save {}", path.display());
        assert_eq!(say(&mut session, &save), format!("(saved to {})\n", path.display()));
        assert_eq!(say(&mut session, &save), format!("({} is already there; name another file)\n", path.display()));
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = r#"{"messages":[{"role":"system","content":"You are ROMEO."},{"role":"user","content":"hello"},{"role":"assistant","content":"aye"}]}"#;
        assert_eq!(text, format!("{expected}\n"));
    }
}
