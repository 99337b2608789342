//! What tests share: frames built by hand, and the parsers under fuzz.

pub mod frames;
pub mod parsers;
