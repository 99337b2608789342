//! Atomic words as the protocols see them, so that a model checker can stand in for the map.

use std::sync::atomic::Ordering;

/// An atomic integer: one of the map, or one of a model.
pub(crate) trait Word {
    /// `u32` or `u64`.
    type Value: Copy + Eq;

    fn load(&self, order: Ordering) -> Self::Value;
    fn store(&self, value: Self::Value, order: Ordering);
    fn swap(&self, value: Self::Value, order: Ordering) -> Self::Value;
    fn fetch_add(&self, value: Self::Value, order: Ordering) -> Self::Value;
    fn fetch_or(&self, bits: Self::Value, order: Ordering) -> Self::Value;
    /// Was it `from`, and is it `to` now?
    fn exchange(&self, from: Self::Value, to: Self::Value) -> bool;
    /// A fence of the same memory model as the word.
    fn fence(order: Ordering);
}

macro_rules! word {
    ($atomic:ty, $value:ty, $fence:path) => {
        impl Word for $atomic {
            type Value = $value;

            fn load(&self, order: Ordering) -> $value {
                <$atomic>::load(self, order)
            }

            fn store(&self, value: $value, order: Ordering) {
                <$atomic>::store(self, value, order);
            }

            fn swap(&self, value: $value, order: Ordering) -> $value {
                <$atomic>::swap(self, value, order)
            }

            fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                <$atomic>::fetch_add(self, value, order)
            }

            fn fetch_or(&self, bits: $value, order: Ordering) -> $value {
                <$atomic>::fetch_or(self, bits, order)
            }

            fn exchange(&self, from: $value, to: $value) -> bool {
                self.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            }

            fn fence(order: Ordering) {
                $fence(order);
            }
        }
    };
}

word!(std::sync::atomic::AtomicU32, u32, std::sync::atomic::fence);
word!(std::sync::atomic::AtomicU64, u64, std::sync::atomic::fence);
#[cfg(test)]
word!(loom::sync::atomic::AtomicU32, u32, loom::sync::atomic::fence);
#[cfg(test)]
word!(loom::sync::atomic::AtomicU64, u64, loom::sync::atomic::fence);
