//! Vocabulary files of every kind that people have, each read into a [`crate::Tokenizer`].

mod hugging_face;
