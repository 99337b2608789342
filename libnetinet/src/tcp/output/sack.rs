//! The SACK option of what is sent, and the room that it leaves. Source: RFC 2018 §4, RFC 2883 §4.

use crate::tcp::sack::{MAX_SACK_BLOCKS, SackBlocks, option_bytes};
use crate::tcp::tcb::Connection;

impl Connection {
    /// Data bytes of a segment sent now: RFC 2018 §3, the option takes room that data had, as does
    /// that of marked bytes.
    pub(in crate::tcp) fn segment_bytes(&self) -> u32 {
        let marked_bytes = self.marked_bytes().map_or(0, |option| option.option_bytes() as u32);
        u32::from(self.mss) - option_bytes(self.sack_block_count()) - marked_bytes
    }

    /// The blocks of the next segment; what came twice is told of once.
    pub(super) fn take_sack_blocks(&mut self) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        let count = self.sack_block_count();
        if count == 0 {
            return blocks;
        }
        if std::mem::take(&mut self.mode.dsack_owed)
            && let Some(block) = self.cold.dsack.take()
        {
            // RFC 2883 §4 (1): the duplicate is the first block.
            blocks.push(block);
        }
        if let Some(reassembly) = &mut self.reassembly {
            reassembly.tell(count - blocks.len(), &mut blocks);
        }
        blocks
    }

    pub(in crate::tcp) fn sack_block_count(&self) -> usize {
        if !self.mode.sack || (self.reassembly.is_none() && !self.mode.dsack_owed) {
            return 0;
        }
        let beyond = self.reassembly.as_ref().map_or(0, |reassembly| reassembly.blocks());
        // RFC 2018 §3: four fit beside no other option, three beside timestamps.
        let most = if self.mode.timestamps { MAX_SACK_BLOCKS - 1 } else { MAX_SACK_BLOCKS };
        // Beside a signature one less without them, and two less with them.
        let signed = if self.mode.timestamps { MAX_SACK_BLOCKS - 3 } else { MAX_SACK_BLOCKS - 2 };
        let most = if self.mode.signed { signed } else { most };
        (beyond + usize::from(self.mode.dsack_owed)).min(most)
    }
}
