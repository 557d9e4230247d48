//! Perplexity and bits per byte
