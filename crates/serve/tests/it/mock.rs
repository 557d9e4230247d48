//! A model without weights, for tests, the example server and the page's browser test.
//!
//! A token is a word. What it answers depends on the last user message:
//!
//! | message | answer |
//! |---|---|
//! | starts with `panic` | panics |
//! | starts with `fail` | an internal error |
//! | starts with `damaged` | the error of damaged weights |
//! | starts with `forever` | words until it is stopped or the room is used up |
//! | starts with `ponder` | reads its prompt until it is stopped, half a minute at most |
//! | starts with `late` | one word, then an internal error |
//! | starts with `show` | the sampling parameters and the prompt, as debug text |
//! | starts with `odd` | markup, emoji, right-to-left text and line breaks |
//! | anything else | a few sentences that repeat it |

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tsumugi_infer::sample::SampleError;
use tsumugi_infer::text::{
    Completion, EmbedError, Embeddings, Event, FinishReason, GenerateError, Prompt, Request, TextInput, TextModel,
    VectorModel,
};

/// See the module's table.
#[derive(Debug)]
pub struct MockModel {
    pub name: String,
    pub context_length: usize,
    pub has_chat_template: bool,
    /// Between two words.
    pub pause: Duration,
    /// Generations that ran to an end of their own.
    pub finished: AtomicUsize,
    /// Generations that were cancelled.
    pub cancelled: AtomicUsize,
}

impl MockModel {
    /// A chat model that answers at once.
    pub fn new(name: &str, context_length: usize) -> Self {
        Self {
            name: name.to_owned(),
            context_length,
            has_chat_template: true,
            pause: Duration::ZERO,
            finished: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
        }
    }

    fn words(prompt: &Prompt) -> usize {
        match prompt {
            Prompt::Text(text) | Prompt::Open(text) => text.split_whitespace().count(),
            Prompt::Tokens(tokens) => tokens.len(),
            // Two control tokens around each message, one that asks for the answer.
            Prompt::Chat(messages) => {
                1 + messages.iter().map(|message| 2 + message.content.split_whitespace().count()).sum::<usize>()
            }
        }
    }

    fn asked(request: &Request) -> String {
        match &request.prompt {
            Prompt::Text(text) | Prompt::Open(text) => text.clone(),
            Prompt::Tokens(tokens) => format!("{tokens:?}"),
            Prompt::Chat(messages) => messages.last().map(|message| message.content.clone()).unwrap_or_default(),
        }
    }

    /// Shown stop strings must not end what shows them.
    fn shows(request: &Request) -> bool {
        Self::asked(request).starts_with("show")
    }

    fn answer(request: &Request) -> Result<Vec<String>, GenerateError> {
        let asked = Self::asked(request);
        let text = match asked.split_whitespace().next().unwrap_or_default() {
            "panic" => panic!("the mock was asked to"),
            "fail" => {
                return Err(GenerateError::Internal { reason: "the mock was asked to".into() });
            }
            "damaged" => {
                return Err(GenerateError::Damaged { model: "chat".into(), reason: SampleError::NothingLeft });
            }
            "forever" => return Ok(["on ", "and "].into_iter().cycle().take(200_000).map(str::to_owned).collect()),
            "late" => return Ok(vec!["once ".into(), "LATE".into()]),
            "show" => {
                let Request { prompt, sampling, max_tokens, stop } = request;
                format!("{sampling:?} {stop:?} {max_tokens:?} {prompt:?}")
            }
            "odd" => "<b>bold</b> <script>alert(1)</script> &amp; 日本語 👩‍👩‍👧 שלום\n\nA new paragraph:\n    indented, \
                      and a_very_long_word_that_does_not_break_anywhere_because_nobody_put_a_space_into_it_at_all."
                .to_owned(),
            _ => format!(
                "You said: “{asked}” I have thought about it, good friend, and would answer thus: the night is long \
                 that never finds the day, yet patience makes the morning ours. What would you have me do?",
            ),
        };
        Ok(text.split_inclusive(' ').map(str::to_owned).collect())
    }
}

impl TextModel for MockModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn has_chat_template(&self) -> bool {
        self.has_chat_template
    }

    fn count_tokens(&self, prompt: &Prompt) -> Result<usize, GenerateError> {
        match Self::words(prompt) {
            0 => Err(GenerateError::EmptyPrompt),
            count => Ok(count),
        }
    }

    fn generate(
        &self,
        request: &Request,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Completion, GenerateError> {
        let start = Instant::now();
        let prompt_tokens = self.count_tokens(&request.prompt)?;
        let room = self.context_length.saturating_sub(prompt_tokens);
        let most = request.max_tokens.unwrap_or(usize::MAX).min(room);
        let words = Self::answer(request)?;
        let mut text = String::new();
        let mut finish_reason = if words.len() > most { FinishReason::Length } else { FinishReason::Stop };
        let mut completion_tokens = 0;
        if Self::asked(request).starts_with("ponder") {
            while start.elapsed() < Duration::from_secs(30) && on_event(Event::Reading { tokens: 1 }).is_continue() {
                sleep(Duration::from_millis(5));
            }
        }
        let mut flow = on_event(Event::PromptRead { prompt_tokens });
        for word in words.iter().take(most) {
            if flow.is_break() {
                finish_reason = FinishReason::Cancelled;
                break;
            }
            if word == "LATE" {
                return Err(GenerateError::Internal { reason: "too late for a status".into() });
            }
            if !Self::shows(request) && request.stop.iter().any(|stop| word.contains(stop)) {
                finish_reason = FinishReason::Stop;
                break;
            }
            sleep(self.pause);
            text.push_str(word);
            completion_tokens += 1;
            flow = on_event(Event::Text(word));
        }
        let counter = if finish_reason == FinishReason::Cancelled { &self.cancelled } else { &self.finished };
        counter.fetch_add(1, Ordering::SeqCst);
        let completion_seconds = start.elapsed().as_secs_f64();
        Ok(Completion {
            text,
            prompt_tokens,
            completion_tokens,
            finish_reason,
            prompt_seconds: 0.0,
            completion_seconds,
        })
    }
}

/// Makes vectors of two numbers: how many tokens (words) an input has, and how many characters, or the sum of its ids. Reads 8
/// tokens and knows 100 ids; a text that starts with `panic` or `damaged` does what it does with the other mock.
#[derive(Debug)]
pub struct MockVectors;

impl VectorModel for MockVectors {
    fn name(&self) -> &str {
        "vectors"
    }

    fn max_tokens(&self) -> usize {
        8
    }

    fn dimensions(&self) -> usize {
        2
    }

    fn embed(&self, inputs: &[TextInput]) -> Result<Embeddings, EmbedError> {
        let (model, mut values, mut tokens) = (self.name().to_owned(), Vec::new(), 0);
        for (index, input) in inputs.iter().enumerate() {
            let (count, number) = match input {
                TextInput::Text(text) if text.starts_with("panic") => panic!("the mock was asked to"),
                TextInput::Text(text) if text.starts_with("damaged") => {
                    return Err(EmbedError::Damaged { model, index });
                }
                TextInput::Text(text) => (text.split_whitespace().count(), text.chars().count()),
                TextInput::Tokens(ids) => match ids.iter().find(|&&id| id >= 100) {
                    Some(&id) => return Err(EmbedError::UnknownToken { model, index, id, vocabulary: 100 }),
                    None => (ids.len(), ids.iter().sum::<u32>() as usize),
                },
            };
            if count == 0 {
                return Err(EmbedError::EmptyText { index });
            }
            if count > self.max_tokens() {
                return Err(EmbedError::TooLong { model, index, max_tokens: self.max_tokens() });
            }
            tokens += count;
            values.extend([count as f32, number as f32 / 10.0]);
        }
        Ok(Embeddings { dimensions: 2, values, tokens, truncated: Vec::new() })
    }
}
