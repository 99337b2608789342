//! What tests share: frames built by hand, frames read by the RFCs' diagrams, a station that speaks
//! them to a stack, and the parsers under fuzz.

pub mod frames;
pub mod lab;
pub mod parsers;
pub mod peer;
pub mod station;
pub mod wire;
