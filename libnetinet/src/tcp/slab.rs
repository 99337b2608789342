//! Values with small numbers, in lists by age: what half-open and waiting connections are kept in.

/// Values by number. A number is free again once its value was released, and each value can be in
/// one [`List`]: adding, releasing and moving cost the same however many there are.
///
/// ```text
///  nodes   [ a ][ b ][ - ][ c ]          list  oldest ─► a ◄─► c ◄─ newest
///                      ▲
///  free ───────────────┘ (through `next`)
/// ```
#[derive(Debug)]
pub(super) struct Slab<T> {
    nodes: Vec<Node<T>>,
    free: u32,
    len: usize,
}

#[derive(Debug)]
pub(super) struct Node<T> {
    value: T,
    prev: u32,
    next: u32,
}

/// Some of a slab's values, in the order in which they were added.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    oldest: u32,
    newest: u32,
}

/// Whether a change of a list concerned its oldest value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Oldest {
    /// It is another one now.
    Changed,
    /// It is the same.
    Same,
}

impl<T> Slab<T> {
    /// Nothing yet, which takes no memory.
    pub(super) const fn new() -> Self {
        Slab { nodes: Vec::new(), free: NIL, len: 0 }
    }

    /// Adds a value, which is in no list; its number.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let node = Node { value, prev: NIL, next: NIL };
        self.len += 1;
        if self.free == NIL {
            self.nodes.push(node);
            return (self.nodes.len() - 1) as u32;
        }
        let index = self.free;
        self.free = self.nodes[index as usize].next;
        self.nodes[index as usize] = node;
        index
    }

    /// The number is to be had again; its value, which is in no list any more, stays till then. With
    /// the last one the memory is given back.
    pub(super) fn release(&mut self, index: u32) {
        self.nodes[index as usize].next = std::mem::replace(&mut self.free, index);
        self.len -= 1;
        if self.len == 0 {
            *self = Slab::new();
        }
    }

    /// Moves a value that is in no list to the end of one.
    pub(super) fn push(&mut self, list: &mut List, index: u32) -> Oldest {
        let last = std::mem::replace(&mut list.newest, index);
        let node = &mut self.nodes[index as usize];
        (node.prev, node.next) = (last, NIL);
        if last == NIL {
            list.oldest = index;
            return Oldest::Changed;
        }
        self.nodes[last as usize].next = index;
        Oldest::Same
    }

    /// Takes a value out of the list that it is in.
    pub(super) fn unlink(&mut self, list: &mut List, index: u32) -> Oldest {
        let Node { prev, next, .. } = self.nodes[index as usize];
        match next {
            NIL => list.newest = prev,
            _ => self.nodes[next as usize].prev = prev,
        }
        if prev == NIL {
            list.oldest = next;
            return Oldest::Changed;
        }
        self.nodes[prev as usize].next = next;
        Oldest::Same
    }

    /// The value of a number, also of one that was released lately.
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.nodes.get(index as usize).map(|node| &node.value)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.nodes.get_mut(index as usize).map(|node| &mut node.value)
    }

    /// The one that was added to its list after this one.
    pub(super) fn next(&self, index: u32) -> Option<u32> {
        let next = self.nodes[index as usize].next;
        (next != NIL).then_some(next)
    }

    /// Values that were not released.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// All by number, those that were released lately among them.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &T)> {
        self.nodes.iter().enumerate().map(|(index, node)| (index as u32, &node.value))
    }
}

impl List {
    /// Without a value.
    pub(super) const EMPTY: List = List { oldest: NIL, newest: NIL };

    /// The one that was added first.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NIL).then_some(self.oldest)
    }
}

const NIL: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn listed(slab: &Slab<u32>, list: &List) -> Vec<u32> {
        let next = |&index: &u32| slab.next(index);
        std::iter::successors(list.oldest(), next).map(|index| *slab.get(index).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn it_does_what_queues_do(steps in prop::collection::vec((0..4u8, any::<usize>()), 0..200)) {
            let (mut slab, mut list) = (Slab::new(), List::EMPTY);
            let (mut queue, mut made): (VecDeque<(u32, u32)>, u32) = (VecDeque::new(), 0);
            for (step, pick) in steps {
                let before = queue.front().copied();
                let changed = match (step, queue.len()) {
                    (0 | 1, _) => {
                        let index = slab.insert(made);
                        prop_assert!(queue.iter().all(|(held, _)| *held != index));
                        queue.push_back((index, made));
                        made += 1;
                        slab.push(&mut list, index)
                    }
                    (_, 0) => continue,
                    (2, len) => {
                        let (index, _) = queue.remove(pick % len).unwrap();
                        let changed = slab.unlink(&mut list, index);
                        slab.release(index);
                        changed
                    }
                    (_, len) => {
                        let moved = queue.remove(pick % len).unwrap();
                        queue.push_back(moved);
                        let first = slab.unlink(&mut list, moved.0);
                        match slab.push(&mut list, moved.0) {
                            Oldest::Changed => Oldest::Changed,
                            Oldest::Same => first,
                        }
                    }
                };
                if queue.front().copied() != before {
                    prop_assert_eq!(changed, Oldest::Changed);
                }
                prop_assert_eq!(slab.len(), queue.len());
                let expected: Vec<u32> = queue.iter().map(|(_, value)| *value).collect();
                prop_assert_eq!(listed(&slab, &list), expected);
            }
        }
    }

    #[test]
    fn numbers_are_used_again_and_the_last_one_gives_the_memory_back() {
        let mut slab = Slab::new();
        let (first, second) = (slab.insert('a'), slab.insert('b'));
        slab.release(first);
        assert_eq!(slab.insert('c'), first);
        assert_eq!((slab.get(first), slab.get(second)), (Some(&'c'), Some(&'b')));
        slab.release(first);
        slab.release(second);
        assert_eq!((slab.len(), slab.nodes.capacity()), (0, 0));
        assert_eq!(slab.get(first), None);
    }
}
