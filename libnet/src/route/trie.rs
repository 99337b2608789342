//! A path-compressed binary trie over prefixes of an address.

use super::Route;

/// An address as a number, its first bit the most significant.
pub(super) trait Key: Copy + Eq + std::fmt::Debug {
    /// Bits of an address.
    const WIDTH: u8;

    /// The bit at `at`, counted from the front: 0 or 1.
    fn bit(self, at: u8) -> usize;

    /// How many leading bits both have in common.
    fn common(self, other: Self) -> u8;

    /// The first `len` bits, the rest zero.
    fn prefix(self, len: u8) -> Self;
}

macro_rules! key {
    ($($int:ty),*) => {$(
        impl Key for $int {
            const WIDTH: u8 = <$int>::BITS as u8;

            fn bit(self, at: u8) -> usize {
                (self >> (Self::WIDTH - 1 - at)) as usize & 1
            }

            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }

            fn prefix(self, len: u8) -> Self {
                self & <$int>::MAX.checked_shl(u32::from(Self::WIDTH - len)).unwrap_or(0)
            }
        }
    )*};
}

key!(u32, u128);

/// Index of a node; [`NONE`] where there is none.
type NodeId = u32;

const NONE: NodeId = NodeId::MAX;

/// ```text
///            10.0.0.0/8 ──0── 10.0.0.0/24
///           /          \
///  /0 ─────0            1──── 10.128.0.0/9
/// ```
/// A node's children extend its prefix, the first bit past it telling which one. Nodes without
/// routes have two children, so there are at most twice as many nodes as destinations; the root,
/// which stands for the empty prefix, is the exception.
#[derive(Debug)]
pub(super) struct Trie<K> {
    nodes: Vec<Node<K>>,
    free: Vec<NodeId>,
}

#[derive(Debug)]
struct Node<K> {
    prefix: K,
    len: u8,
    children: [NodeId; 2],
    /// By metric, then by age.
    routes: Vec<Route>,
}

const ROOT: NodeId = 0;

impl<K: Key> Trie<K> {
    pub(super) fn new() -> Self
    where
        K: Default,
    {
        let root =
            Node { prefix: K::default(), len: 0, children: [NONE, NONE], routes: Vec::new() };
        Trie { nodes: vec![root], free: Vec::new() }
    }

    /// Adds a route behind those of the same metric. `prefix` has no bits past `len`.
    pub(super) fn insert(&mut self, prefix: K, len: u8, route: Route) {
        let id = self.find_or_make(prefix, len);
        let routes = &mut self.nodes[id as usize].routes;
        let at = routes.partition_point(|other| other.metric <= route.metric);
        routes.insert(at, route);
    }

    /// Takes out the first route to exactly this prefix that `meant` is true for.
    pub(super) fn remove_first(
        &mut self,
        prefix: K,
        len: u8,
        meant: impl Fn(&Route) -> bool,
    ) -> Option<Route> {
        let path = self.path(prefix, len)?;
        let &id = path.last()?;
        let routes = &mut self.nodes[id as usize].routes;
        let at = routes.iter().position(meant)?;
        let route = routes.remove(at);
        self.prune(&path);
        Some(route)
    }

    /// The routes to exactly this prefix.
    pub(super) fn exact(&self, prefix: K, len: u8) -> Option<&[Route]> {
        let &id = self.path(prefix, len)?.last()?;
        Some(&self.nodes[id as usize].routes)
    }

    /// The best route for an address among those that are usable.
    pub(super) fn lookup(&self, addr: K, usable: impl Fn(&Route) -> bool) -> Option<&Route> {
        let mut best = None;
        let mut id = ROOT;
        while let Some(node) = self.nodes.get(id as usize) {
            if node.prefix.common(addr) < node.len {
                break;
            }
            if let Some(route) = node.routes.iter().find(|route| usable(route)) {
                best = Some(route);
            }
            if node.len == K::WIDTH {
                break;
            }
            id = node.children[addr.bit(node.len)];
        }
        best
    }

    /// All routes, by prefix, shorter ones first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Route> {
        let mut stack = vec![ROOT];
        let nodes = std::iter::from_fn(move || {
            let node = self.nodes.get(stack.pop()? as usize)?;
            stack.extend(node.children.iter().rev().filter(|&&child| child != NONE));
            Some(node)
        });
        nodes.flat_map(|node| &node.routes)
    }

    /// The nodes from the root to the one of exactly this prefix.
    fn path(&self, prefix: K, len: u8) -> Option<Vec<NodeId>> {
        let mut path = vec![ROOT];
        let mut id = ROOT;
        loop {
            let node = &self.nodes[id as usize];
            if node.len > len || node.prefix.common(prefix) < node.len {
                return None;
            }
            if node.len == len {
                return Some(path);
            }
            id = node.children[prefix.bit(node.len)];
            if id == NONE {
                return None;
            }
            path.push(id);
        }
    }

    fn find_or_make(&mut self, prefix: K, len: u8) -> NodeId {
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
            let common = below.prefix.common(prefix).min(below.len).min(len);
            if common < below.len {
                // Part ways above the child: a node for what both have in common.
                let fork_below = below.prefix.bit(common);
                let fork = self.hang(id, side, prefix.prefix(common), common);
                self.nodes[fork as usize].children[fork_below] = child;
                if common == len {
                    return fork;
                }
                return self.hang(fork, prefix.bit(common), prefix, len);
            }
            id = child;
        }
    }

    /// Makes a node and hangs it under another in place of what is there.
    fn hang(&mut self, parent: NodeId, side: usize, prefix: K, len: u8) -> NodeId {
        let node = Node { prefix, len, children: [NONE, NONE], routes: Vec::new() };
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as NodeId
            }
        };
        self.nodes[parent as usize].children[side] = id;
        id
    }

    /// Takes out the last node of a path if nothing needs it any more, and its parent likewise.
    fn prune(&mut self, path: &[NodeId]) {
        for pair in path.windows(2).rev() {
            let [parent, id] = [pair[0], pair[1]];
            let node = &self.nodes[id as usize];
            if !node.routes.is_empty() || !node.children.contains(&NONE) {
                return;
            }
            let [left, right] = node.children;
            let only = if left == NONE { right } else { left };
            for child in &mut self.nodes[parent as usize].children {
                if *child == id {
                    *child = only;
                }
            }
            self.free.push(id);
        }
    }

    #[cfg(test)]
    pub(super) fn node_count(&self) -> usize {
        self.nodes.len() - self.free.len()
    }
}
