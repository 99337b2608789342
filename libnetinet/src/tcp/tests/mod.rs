//! Timelines in virtual time: two tables, and a wire between them that does what a test asks.

mod basic;
mod net;
