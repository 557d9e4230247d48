//! What the scanner finds in files, and what it lets be.

mod benign;
mod gate;
mod mechanisms;
mod output;
mod recall;
mod samples;
