//! Blocks of a SACK option, and those that a receiver tells of. Source: RFC 2018, RFC 2883.

use std::collections::VecDeque;

use super::seq::SeqNumber;

/// Numbers that have arrived, from `left` to before `right`. Source: RFC 2018 §3.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SackBlock {
    /// The first number.
    pub left: SeqNumber,
    /// One past the last number.
    pub right: SeqNumber,
}

impl SackBlock {
    /// Do they overlap, or does one begin where the other ends?
    pub(super) fn touches(&self, other: &SackBlock) -> bool {
        self.left.le(other.right) && other.left.le(self.right)
    }

    /// The smallest block that holds both.
    pub(super) fn union(&self, other: &SackBlock) -> SackBlock {
        SackBlock { left: self.left.min(other.left), right: self.right.max(other.right) }
    }
}

/// The blocks of one option, 0 to 4, as they stand in it; nothing is said about their order.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SackBlocks {
    blocks: [SackBlock; MAX_SACK_BLOCKS],
    len: u8,
}

impl SackBlocks {
    /// Reads what follows kind and length, a multiple of 8 bytes.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut blocks = SackBlocks::default();
        for edges in bytes.chunks_exact(8) {
            let long = |at: usize| {
                u32::from_be_bytes([edges[at], edges[at + 1], edges[at + 2], edges[at + 3]])
            };
            let (left, right) = (SeqNumber::new(long(0)), SeqNumber::new(long(4)));
            blocks.push(SackBlock { left, right });
        }
        blocks
    }

    /// Appends a block; `false` if there is no room.
    pub fn push(&mut self, block: SackBlock) -> bool {
        let at = usize::from(self.len);
        if at == MAX_SACK_BLOCKS {
            return false;
        }
        self.blocks[at] = block;
        self.len += 1;
        true
    }

    /// Blocks held.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Holds none?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The blocks, the first of the option first.
    pub fn iter(&self) -> impl Iterator<Item = &SackBlock> {
        self.blocks[..usize::from(self.len)].iter()
    }

    /// Bytes of the option with its two NOPs; 0 without blocks.
    pub fn option_bytes(&self) -> u32 {
        option_bytes(self.len())
    }
}

/// Bytes of an option of `blocks` blocks with its two NOPs.
pub(super) fn option_bytes(blocks: usize) -> u32 {
    if blocks == 0 { 0 } else { 4 + 8 * blocks as u32 }
}

/// What a receiver's next acknowledgements tell of: the block that changed last first.
///
/// RFC 2018 §4: the first block holds the segment that the acknowledgement answers, the others
/// repeat those that were told of most recently. When several segments have come before the first
/// of their acknowledgements leaves, each tells of others, the oldest news first.
#[derive(Clone, Debug, Default)]
pub(super) struct RecentBlocks {
    blocks: VecDeque<RecentBlock>,
    /// One had no room and is not told of any more.
    forgotten: bool,
}

#[derive(Clone, Copy, Debug)]
struct RecentBlock {
    block: SackBlock,
    /// It has changed since it was last told of.
    news: bool,
}

impl RecentBlocks {
    /// `block` has arrived. `grow` extends a block by all data held that it touches; it is asked
    /// only where these are not known.
    pub(super) fn report(&mut self, block: SackBlock, grow: impl Fn(SackBlock) -> SackBlock) {
        let mut block = self.absorb(block);
        if self.forgotten || self.blocks.is_empty() {
            block = grow(block);
            block = self.absorb(block);
        }
        if self.blocks.len() == MAX_RECENT_BLOCKS {
            self.blocks.pop_back();
            self.forgotten = true;
        }
        self.blocks.push_front(RecentBlock { block, news: true });
    }

    /// All before `seq` is acknowledged.
    pub(super) fn forget_before(&mut self, seq: SeqNumber) {
        self.blocks.retain(|recent| recent.block.right.gt(seq));
    }

    /// Adds up to `most` blocks to an option, and takes them as told of.
    pub(super) fn tell(&mut self, most: usize, out: &mut SackBlocks) {
        let room = out.len() + most;
        for recent in self.blocks.iter_mut().rev().filter(|recent| recent.news) {
            if out.len() == room {
                return;
            }
            recent.news = false;
            out.push(recent.block);
        }
        // The option begins with what is told of for the first time, or with the last that was.
        for recent in &self.blocks {
            if out.len() == room {
                return;
            }
            if !out.iter().any(|told| *told == recent.block) {
                out.push(recent.block);
            }
        }
    }

    /// Blocks held.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Takes out those that `block` touches, and gives the union.
    fn absorb(&mut self, block: SackBlock) -> SackBlock {
        let mut whole = block;
        self.blocks.retain(|recent| {
            let touches = recent.block.touches(&block);
            if touches {
                whole = whole.union(&recent.block);
            }
            !touches
        });
        whole
    }
}

/// A batch of segments may make as many; beyond it the oldest is forgotten.
const MAX_RECENT_BLOCKS: usize = 32;
/// As many as 40 bytes of options hold. Source: RFC 2018 §3.
pub(super) const MAX_SACK_BLOCKS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn block(left: u32, right: u32) -> SackBlock {
        SackBlock { left: SeqNumber::new(left), right: SeqNumber::new(right) }
    }

    fn told(recent: &mut RecentBlocks) -> Vec<(u32, u32)> {
        let mut out = SackBlocks::default();
        recent.tell(4, &mut out);
        out.iter().map(|b| (b.left.value(), b.right.value())).collect()
    }

    #[test]
    fn the_block_that_changed_last_comes_first() {
        // RFC 2018 §7.
        let mut recent = RecentBlocks::default();
        let mut last = Vec::new();
        for left in [5500, 6500, 7500] {
            recent.report(block(left, left + 500), |block| block);
            last = told(&mut recent);
        }
        assert_eq!(last, [(7500, 8000), (6500, 7000), (5500, 6000)]);
        recent.report(block(6000, 6500), |block| block);
        assert_eq!(told(&mut recent), [(5500, 7000), (7500, 8000)]);
        recent.forget_before(SeqNumber::new(7000));
        assert_eq!(told(&mut recent), [(7500, 8000)]);
    }

    #[test]
    fn of_a_batch_each_acknowledgement_tells_of_others() {
        let mut recent = RecentBlocks::default();
        for left in 1..=6 {
            recent.report(block(left * 100, left * 100 + 50), |block| block);
        }
        let firsts: Vec<_> = (0..3).map(|_| told(&mut recent)).collect();
        assert_eq!(firsts[0], [(100, 150), (200, 250), (300, 350), (400, 450)]);
        assert_eq!(firsts[1], [(500, 550), (600, 650), (400, 450), (300, 350)]);
        assert_eq!(firsts[2][0], (600, 650), "and then the last to come");
    }

    #[test]
    fn one_too_many_takes_the_place_of_the_oldest_and_that_may_grow_back() {
        let mut recent = RecentBlocks::default();
        for i in 0..=MAX_RECENT_BLOCKS as u32 {
            recent.report(block(i * 100, i * 100 + 50), |block| block);
        }
        assert_eq!(recent.len(), MAX_RECENT_BLOCKS);
        while told(&mut recent)[0].0 != 3200 {}
        // What touches the forgotten one is told of with it: the data held say how far it goes.
        recent.report(block(50, 70), |_| block(0, 70));
        assert_eq!(told(&mut recent)[0], (0, 70));
    }
}
