//! `tsumugi chat`: a conversation in the terminal.

mod session;

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use tsumugi_infer::text::TextModel;
use tsumugi_tokenizer::Message;

use super::Command;
use crate::flags::{Sampling, Serving, Trust};
use crate::output::{Answer, Failure, colours, harmless, tell};
use crate::{interrupt, model};
use session::Session;

/// Talk with a model in the terminal
///
/// Ctrl-C breaks an answer off; at the prompt it leaves. When the conversation outgrows the model's context, the oldest
/// whole turns are left out, and it says so. `/help` lists the commands.
#[derive(Debug, Args)]
pub struct Chat {
    /// A model folder or GGUF file, with a chat template
    model: String,
    /// The system message; with the quickstart's model: who answers [default: the first that the model suggests, if any]
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Your name, for models that were trained to be told it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The same seed and words give the same answers [default: another each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    serving: Serving,
    /// Say after each answer how fast it was
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    trust: Trust,
}

impl Command for Chat {
    const NAME: &'static str = "chat";
    const EXAMPLES: &'static str = "
        tsumugi chat runs/quickstart/chat
        tsumugi chat runs/quickstart/chat --system 'You are ROMEO.' --name JULIET";

    fn run(self) -> Result<Answer, Failure> {
        let model = model::load(&self.model, self.serving.options()?, 1, &self.trust)?;
        if !model.has_chat_template() {
            return Err(Failure::new(
                format!("{} is a base model: it has no chat template", self.model),
                format!("continue a text with `tsumugi generate {}`, or tune it first: `tsumugi tune sft`", self.model),
            ));
        }
        interrupt::listen("")?;
        let seed = self.seed.unwrap_or_else(clock);
        let mut session = Session::new(&model, self.sampling.parameters(seed), self.verbose);
        match (&self.system, model.suggested_system_messages().first()) {
            (Some(system), _) => session.set_system(system),
            (None, Some(system)) => {
                session.set_system(system);
                tell(&format!("(system: {}; `--system TEXT` or /system sets another)", harmless(system)));
            }
            (None, None) => {}
        }
        session.set_name(self.name.as_deref().unwrap_or(""));
        let (prompt, banner) = match io::stdin().is_terminal() {
            true if colours(&io::stdout()) => ("\x1b[1m> \x1b[0m", true),
            true => ("> ", true),
            false => ("", false),
        };
        if banner {
            let context = model.context_length();
            tell(&format!("{}, {context} tokens of context. /help has the commands.", model.name()));
        }
        converse(&mut session, prompt)?;
        match session.unanswered() {
            count if count > 0 && !banner => {
                let messages = if count == 1 { "a message was" } else { "some messages were" };
                Err(Failure::new(format!("{messages} not answered"), "why is said above, in place of the answer"))
            }
            _ => Ok(Answer::Done),
        }
    }
}

fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Reads lines until the end or `/quit`.
fn converse(session: &mut Session<'_>, prompt: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout();
    let mut lines = io::stdin().lock().lines();
    loop {
        stdout
            .write_all(prompt.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| crate::output::written(&error))?;
        interrupt::idle(true);
        let line = lines.next();
        interrupt::idle(false);
        let line = match line {
            None => return Ok(()),
            Some(Ok(line)) => line,
            Some(Err(error)) => {
                return Err(Failure::Error { message: format!("cannot read standard input: {error}"), hint: None });
            }
        };
        if session.line(line.trim(), &mut stdout)?.is_break() {
            return Ok(());
        }
        interrupt::done();
    }
}

/// One JSON line per conversation: what `data preview` and `tune sft` read.
fn conversation_line(messages: &[Message]) -> String {
    format!("{}\n", serde_json::json!({"messages": messages}))
}
