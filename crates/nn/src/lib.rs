//! Layers by their textbook names
