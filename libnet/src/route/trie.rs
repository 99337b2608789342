//! A path-compressed binary trie over prefixes of an address, made small for a million of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::store::Ways;
use crate::iface::IpCidr;

/// An address as a number, its first bit the most significant.
pub(super) trait Key: Copy + Eq + std::fmt::Debug {
    /// Bits of an address.
    const WIDTH: u8;
    /// As it is kept in a node: nothing of it is lost to alignment.
    type Kept: Copy + std::fmt::Debug;

    /// The bit at `at`, counted from the front: 0 or 1.
    fn bit(self, at: u8) -> usize;

    /// How many leading bits both have in common.
    fn common(self, other: Self) -> u8;

    /// The first `len` bits, the rest zero.
    fn prefix(self, len: u8) -> Self;

    /// The first 16 bits.
    fn front(self) -> usize;

    /// To be kept.
    fn keep(self) -> Self::Kept;

    /// What was kept.
    fn of(kept: Self::Kept) -> Self;

    /// The address.
    fn addr(self) -> IpAddr;
}

macro_rules! key {
    ($int:ty, $addr:ident, $variant:ident) => {
        impl Key for $int {
            const WIDTH: u8 = <$int>::BITS as u8;
            type Kept = [u8; size_of::<$int>()];

            fn bit(self, at: u8) -> usize {
                (self >> (Self::WIDTH - 1 - at)) as usize & 1
            }

            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }

            fn prefix(self, len: u8) -> Self {
                self & <$int>::MAX.checked_shl(u32::from(Self::WIDTH - len)).unwrap_or(0)
            }

            fn front(self) -> usize {
                (self >> (Self::WIDTH - FRONT_BITS)) as usize
            }

            fn keep(self) -> Self::Kept {
                self.to_ne_bytes()
            }

            fn of(kept: Self::Kept) -> Self {
                <$int>::from_ne_bytes(kept)
            }

            fn addr(self) -> IpAddr {
                IpAddr::$variant($addr::from_bits(self))
            }
        }
    };
}

key!(u32, Ipv4Addr, V4);
key!(u128, Ipv6Addr, V6);

/// Index of a node; [`NONE`] where there is none.
pub(super) type NodeId = u32;

const NONE: NodeId = NodeId::MAX;
const ROOT: NodeId = 0;

/// ```text
///            10.0.0.0/8 ──0── 10.0.0.0/24
///           /          \
///  /0 ─────0            1──── 10.128.0.0/9
/// ```
/// A node's children extend its prefix, the first bit past it telling which one. Nodes without
/// routes have two children, so there are at most twice as many nodes as destinations; the root,
/// which stands for the empty prefix, is the exception.
///
/// A large trie has a table beside it that tells, by the first 16 bits of an address, how deep a
/// look-up may begin.
#[derive(Debug)]
pub(super) struct Trie<K: Key> {
    nodes: Vec<Node<K>>,
    /// The first free node; each knows the next by its `parent`.
    free: NodeId,
    count: usize,
    /// The deepest node of at most 16 bits on the way to each block of 16 bits; empty while the
    /// trie is small.
    fronts: Vec<NodeId>,
}

#[derive(Clone, Copy, Debug)]
struct Node<K: Key> {
    prefix: K::Kept,
    parent: NodeId,
    children: [NodeId; 2],
    ways: Ways,
    /// Bits of the prefix; [`FREE`] in a node that is none.
    len: u8,
}

const FREE: u8 = u8::MAX;
const FRONT_BITS: u8 = 16;
/// Nodes from which on the table of fronts is kept, and below which it is given back.
const FRONTS: std::ops::Range<usize> = 2_048..8_192;

impl<K: Key> Trie<K> {
    /// No prefix.
    pub(super) fn new(zero: K) -> Self {
        Trie { nodes: vec![Node::new(zero, 0, NONE)], free: NONE, count: 1, fronts: Vec::new() }
    }

    /// The node of exactly this prefix, made if need be. `prefix` has no bits past `len`.
    pub(super) fn make(&mut self, prefix: K, len: u8) -> NodeId {
        let mut id = ROOT;
        loop {
            // Invariant: the node's prefix is one of ours.
            let node = &self.nodes[id as usize];
            if node.len == len {
                return id;
            }
            let side = prefix.bit(node.len);
            let child = node.children[side];
            if child == NONE {
                return self.hang(id, side, prefix, len);
            }
            let below = &self.nodes[child as usize];
            let below_prefix = K::of(below.prefix);
            let common = below_prefix.common(prefix).min(below.len).min(len);
            if common < below.len {
                // Part ways above the child: a node for what both have in common.
                let fork = self.hang(id, side, prefix.prefix(common), common);
                self.nodes[fork as usize].children[below_prefix.bit(common)] = child;
                self.nodes[child as usize].parent = fork;
                if common == len {
                    return fork;
                }
                return self.hang(fork, prefix.bit(common), prefix, len);
            }
            id = child;
        }
    }

    /// The node of exactly this prefix.
    pub(super) fn exact(&self, prefix: K, len: u8) -> Option<NodeId> {
        let mut id = ROOT;
        loop {
            let node = self.nodes.get(id as usize)?;
            if node.len > len || K::of(node.prefix).common(prefix) < node.len {
                return None;
            }
            if node.len == len {
                return Some(id);
            }
            id = node.children[prefix.bit(node.len)];
        }
    }

    /// The node of the longest prefix that holds an address.
    pub(super) fn deepest(&self, addr: K) -> NodeId {
        let mut best = self.fronts.get(addr.front()).copied().unwrap_or(ROOT);
        loop {
            let node = &self.nodes[best as usize];
            if node.len == K::WIDTH {
                return best;
            }
            let child = node.children[addr.bit(node.len)];
            match self.nodes.get(child as usize) {
                Some(below) if K::of(below.prefix).common(addr) >= below.len => best = child,
                _ => return best,
            }
        }
    }

    /// The node of the next shorter prefix.
    pub(super) fn parent(&self, id: NodeId) -> Option<NodeId> {
        let parent = self.nodes[id as usize].parent;
        (parent != NONE).then_some(parent)
    }

    /// The prefix of a node.
    pub(super) fn dst(&self, id: NodeId) -> IpCidr {
        let node = &self.nodes[id as usize];
        let addr = K::of(node.prefix).addr();
        IpCidr::new(addr, node.len).expect("no prefix is longer than its address")
    }

    /// The ways of a node.
    pub(super) fn ways(&self, id: NodeId) -> Ways {
        self.nodes[id as usize].ways
    }

    /// Changes the ways of a node; one without is to be [`prune`](Self::prune)d.
    pub(super) fn set_ways(&mut self, id: NodeId, ways: Ways) {
        self.nodes[id as usize].ways = ways;
    }

    /// All nodes, by prefix, shorter ones first.
    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(self.first()), |&id| self.next(id))
    }

    /// The node that is first in order.
    pub(super) fn first(&self) -> NodeId {
        ROOT
    }

    /// The node that follows in order.
    pub(super) fn next(&self, id: NodeId) -> Option<NodeId> {
        let below = self.nodes[id as usize].children.into_iter().find(|&child| child != NONE);
        if below.is_some() {
            return below;
        }
        let mut id = id;
        loop {
            let parent = self.parent(id)?;
            let [left, right] = self.nodes[parent as usize].children;
            if left == id && right != NONE {
                return Some(right);
            }
            id = parent;
        }
    }

    /// Takes out a node if nothing needs it any more, and its parents likewise.
    pub(super) fn prune(&mut self, mut id: NodeId) {
        loop {
            let Node { prefix: _, parent, children, ways, len } = self.nodes[id as usize];
            let needed = !ways.is_none() || !children.contains(&NONE);
            if id == ROOT || len == FREE || needed {
                break;
            }
            let [left, right] = children;
            let only = if left == NONE { right } else { left };
            for child in &mut self.nodes[parent as usize].children {
                if *child == id {
                    *child = only;
                }
            }
            if let Some(only) = self.nodes.get_mut(only as usize) {
                only.parent = parent;
            }
            self.leave_fronts(id, parent);
            self.give_back(id);
            id = parent;
        }
        if self.count < FRONTS.start {
            self.fronts = Vec::new();
        }
    }

    /// Bytes of memory that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node<K>>() + self.fronts.capacity() * size_of::<NodeId>()
    }

    #[cfg(test)]
    pub(super) fn node_count(&self) -> usize {
        self.count
    }

    #[cfg(test)]
    pub(super) fn has_fronts(&self) -> bool {
        !self.fronts.is_empty()
    }

    /// Makes a node and hangs it under another in place of what is there.
    fn hang(&mut self, parent: NodeId, side: usize, prefix: K, len: u8) -> NodeId {
        let node = Node::new(prefix, len, parent);
        let id = self.free;
        let id = if id == NONE {
            self.push(node)
        } else {
            self.free = self.nodes[id as usize].parent;
            self.nodes[id as usize] = node;
            id
        };
        self.nodes[parent as usize].children[side] = id;
        self.count += 1;
        if !self.fronts.is_empty() {
            self.enter_fronts(id);
        } else if self.count > FRONTS.end {
            self.fronts = vec![ROOT; 1 << FRONT_BITS];
            let all: Vec<NodeId> = self.ids().collect();
            all.into_iter().for_each(|id| self.enter_fronts(id));
        }
        id
    }

    fn push(&mut self, node: Node<K>) -> NodeId {
        if self.nodes.len() == self.nodes.capacity() {
            // An eighth at a time: doubling would leave half of a large table unused.
            self.nodes.reserve_exact(self.nodes.len() / 8 + 8);
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as NodeId
    }

    fn give_back(&mut self, id: NodeId) {
        let node = &mut self.nodes[id as usize];
        node.len = FREE;
        node.parent = self.free;
        self.free = id;
        self.count -= 1;
    }

    /// The blocks of 16 bits that a node of at most as many holds.
    fn blocks(&self, id: NodeId) -> std::ops::Range<usize> {
        let node = &self.nodes[id as usize];
        if node.len > FRONT_BITS || self.fronts.is_empty() {
            return 0..0;
        }
        let first = K::of(node.prefix).front();
        first..first + (1 << (FRONT_BITS - node.len))
    }

    fn enter_fronts(&mut self, id: NodeId) {
        let len = self.nodes[id as usize].len;
        for block in self.blocks(id) {
            if self.nodes[self.fronts[block] as usize].len < len {
                self.fronts[block] = id;
            }
        }
    }

    fn leave_fronts(&mut self, id: NodeId, parent: NodeId) {
        for block in self.blocks(id) {
            if self.fronts[block] == id {
                self.fronts[block] = parent;
            }
        }
    }
}

impl<K: Key> Node<K> {
    fn new(prefix: K, len: u8, parent: NodeId) -> Self {
        Node { prefix: prefix.keep(), parent, children: [NONE, NONE], ways: Ways::NONE, len }
    }
}
