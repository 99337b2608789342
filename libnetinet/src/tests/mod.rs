//! Tests of whole stacks on a segment, in virtual time.

mod ancillary;
mod basics;
mod datagrams;
mod garbage;
mod inspect;
mod landing;
mod link_local;
mod multicast;
mod neighbours;
mod raw6;
mod shards;
mod six;
mod streams;
mod zones;
