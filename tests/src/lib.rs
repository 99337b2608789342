//! What tests share: frames built by hand, frames read by the RFCs' diagrams, and the parsers
//! under fuzz.

pub mod frames;
pub mod parsers;
pub mod wire;
