//! Text to packed token shards, deterministic shuffling, conversations
