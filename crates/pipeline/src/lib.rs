//! Whole runs in stages: quickstart, recipes
