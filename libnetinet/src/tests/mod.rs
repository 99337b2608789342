//! Tests of whole stacks on a segment, in virtual time.

mod basics;
mod streams;
