//! Tests of whole stacks on a segment, in virtual time.

mod ancillary;
mod basics;
mod datagrams;
mod garbage;
mod inspect;
mod multicast;
mod neighbours;
mod shards;
mod six;
mod streams;
