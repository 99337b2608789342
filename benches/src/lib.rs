//! What the benches share: medians with their intervals, placement of processes, and the table.

pub mod ends;
pub mod held;
pub mod pair;
pub mod place;
pub mod smol;
pub mod stats;
pub mod transport;
