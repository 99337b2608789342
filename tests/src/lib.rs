//! What tests share: frames built by hand, frames read by the RFCs' diagrams, a station that speaks
//! them to a stack, the parsers under fuzz, the cases of the semantics suite, and places in the sources.

pub mod black_hole;
pub mod bounds;
pub mod flows;
pub mod frames;
pub mod goodput;
pub mod lab;
pub mod linux;
pub mod parsers;
pub mod peer;
pub mod places;
pub mod ring;
pub mod router;
pub mod semantics;
pub mod station;
pub mod syn_flood;
pub mod wire;
