//! What tests share: frames written and read by the RFCs' diagrams, and the parsers under fuzz.

pub mod parsers;
pub mod wire;
