//! Blocks of a SACK option, and those that a receiver tells of. Source: RFC 2018, RFC 2883.

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

    /// Puts a block in front; with four held the last is lost, and `true` says so.
    fn push_front(&mut self, block: SackBlock) -> bool {
        let full = self.len() == MAX_SACK_BLOCKS;
        self.blocks.rotate_right(1);
        self.blocks[0] = block;
        self.len = (self.len + 1).min(MAX_SACK_BLOCKS as u8);
        full
    }

    fn retain(&mut self, keep: impl Fn(&SackBlock) -> bool) {
        let all = std::mem::take(self);
        for block in all.iter().filter(|block| keep(block)) {
            self.push(*block);
        }
    }
}

/// Bytes of an option of `blocks` blocks with its two NOPs.
pub(super) fn option_bytes(blocks: usize) -> u32 {
    if blocks == 0 { 0 } else { 4 + 8 * blocks as u32 }
}

/// What a receiver's next acknowledgements tell of: the block that changed last first.
///
/// RFC 2018 §4: the first block holds the segment that the acknowledgement answers, the others
/// repeat those that were told of most recently.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RecentBlocks {
    blocks: SackBlocks,
    /// One had no room and is not told of any more.
    forgotten: bool,
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
        self.forgotten |= self.blocks.push_front(block);
    }

    /// All before `seq` is acknowledged.
    pub(super) fn forget_before(&mut self, seq: SeqNumber) {
        self.blocks.retain(|block| block.right.gt(seq));
    }

    /// The blocks, the first to be told of first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &SackBlock> {
        self.blocks.iter()
    }

    /// Blocks held.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Takes out those that `block` touches, and gives the union.
    fn absorb(&mut self, block: SackBlock) -> SackBlock {
        let mut whole = block;
        for other in self.blocks.iter().filter(|other| other.touches(&block)) {
            whole = whole.union(other);
        }
        self.blocks.retain(|other| !other.touches(&block));
        whole
    }
}

/// As many as 40 bytes of options hold. Source: RFC 2018 §3.
pub(super) const MAX_SACK_BLOCKS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn block(left: u32, right: u32) -> SackBlock {
        SackBlock { left: SeqNumber::new(left), right: SeqNumber::new(right) }
    }

    fn told(recent: &RecentBlocks) -> Vec<(u32, u32)> {
        recent.iter().map(|b| (b.left.value(), b.right.value())).collect()
    }

    #[test]
    fn the_block_that_changed_last_comes_first() {
        // RFC 2018 §4 and its example 3.
        let mut recent = RecentBlocks::default();
        for left in [5500, 6500, 7500] {
            recent.report(block(left, left + 500), |block| block);
        }
        assert_eq!(told(&recent), [(7500, 8000), (6500, 7000), (5500, 6000)]);
        recent.report(block(6000, 6500), |block| block);
        assert_eq!(told(&recent), [(5500, 7000), (7500, 8000)]);
        recent.forget_before(SeqNumber::new(7000));
        assert_eq!(told(&recent), [(7500, 8000)]);
    }

    #[test]
    fn a_fifth_block_takes_the_place_of_the_oldest_and_that_may_grow_back() {
        let mut recent = RecentBlocks::default();
        for left in [100, 300, 500, 700, 900] {
            recent.report(block(left, left + 100), |block| block);
        }
        assert_eq!(told(&recent), [(900, 1000), (700, 800), (500, 600), (300, 400)]);
        // What touches the forgotten one is told of with it: the data held say how far it goes.
        recent.report(block(200, 250), |_| block(100, 250));
        assert_eq!(told(&recent)[0], (100, 250));
    }
}
