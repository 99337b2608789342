//! What tests share: the parsers under fuzz.

pub mod parsers;
