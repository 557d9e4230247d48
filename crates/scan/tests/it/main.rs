//! What the scanner finds in files, and what it lets be.

mod audit;
mod benign;
mod bom;
mod mechanisms;
mod output;
mod provenance;
mod recall;
mod samples;
