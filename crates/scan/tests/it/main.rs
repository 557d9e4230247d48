//! What the scanner finds in files, and what it lets be.

mod benign;
mod catalogue;
mod mechanisms;
mod mutated;
mod output;
mod recall;
mod samples;
mod schema;
mod structures;
