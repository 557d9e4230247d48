//! Decoder families as data; weights in and out
