//! Supervised fine-tuning
