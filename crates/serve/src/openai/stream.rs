//! An answer as server-sent events: `data: {...}`, an empty line, at the end `data: [DONE]`.
//!
//! The body owns the [`Generation`]: when the client leaves, hyper drops the body, and the model stops at its next
//! token.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Bytes, HttpBody};
use http_body::Frame;
use serde_json::Value;
use tsumugi_infer::text::{Completion, FinishReason};

use super::error::ApiError;
use super::generation::Envelope;
use crate::worker::{Generation, Update};

/// The body of a streamed answer.
pub struct EventStream {
    /// `None` after the last event.
    generation: Option<Generation>,
    envelope: Envelope,
    include_usage: bool,
    /// Updates that were taken out of the channel before the stream began.
    early: VecDeque<Update>,
    opened: bool,
}

impl EventStream {
    /// `first` is the update that showed that the request is good.
    pub fn new(generation: Generation, envelope: Envelope, include_usage: bool, first: Update) -> Self {
        Self { generation: Some(generation), envelope, include_usage, early: VecDeque::from([first]), opened: false }
    }

    fn poll_update(&mut self, context: &mut Context<'_>) -> Poll<Option<Update>> {
        if let Some(update) = self.early.pop_front() {
            return Poll::Ready(Some(update));
        }
        match &mut self.generation {
            Some(generation) => generation.updates.poll_recv(context),
            None => Poll::Ready(None),
        }
    }

    /// The events of one update, as they go over the wire; empty for none.
    fn write(&mut self, update: Option<Update>) -> String {
        let mut wire = String::new();
        if !self.opened {
            self.opened = true;
            self.envelope.opening().iter().for_each(|chunk| self.push(&mut wire, chunk));
        }
        match update {
            Some(Update::PromptRead) => {}
            Some(Update::Text(text)) if text.is_empty() => {}
            Some(Update::Text(text)) => self.push(&mut wire, &self.envelope.text(&text)),
            Some(Update::Done(completion)) => self.close(&mut wire, &completion),
            Some(Update::Failed(error)) => self.fail(&mut wire, &ApiError::from_model(&error, "")),
            None => self.fail(&mut wire, &ApiError::stopping()),
        }
        wire
    }

    fn close(&mut self, wire: &mut String, completion: &Completion) {
        if completion.finish_reason == FinishReason::Cancelled {
            return self.fail(wire, &ApiError::stopping());
        }
        self.push(wire, &self.envelope.closing(completion));
        if self.include_usage {
            push_event(wire, &self.envelope.usage(completion).to_string());
        }
        push_event(wire, "[DONE]");
        self.generation = None;
    }

    /// Too late for a status: the error is the last event, which the official clients raise.
    fn fail(&mut self, wire: &mut String, error: &ApiError) {
        push_event(wire, &ApiError { param: None, ..error.clone() }.to_json().to_string());
        self.generation = None;
    }

    /// With `include_usage` every chunk but the last says `"usage": null`.
    fn push(&self, wire: &mut String, chunk: &Value) {
        if !self.include_usage {
            return push_event(wire, &chunk.to_string());
        }
        let mut chunk = chunk.clone();
        chunk["usage"] = Value::Null;
        push_event(wire, &chunk.to_string());
    }
}

/// JSON text has no line breaks, so an event is one line.
fn push_event(wire: &mut String, data: &str) {
    wire.push_str("data: ");
    wire.push_str(data);
    wire.push_str("\n\n");
}

impl HttpBody for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while self.generation.is_some() {
            let update = ready!(self.poll_update(context));
            let wire = self.write(update);
            if !wire.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from(wire)))));
            }
        }
        Poll::Ready(None)
    }
}
