//! Keys that the cookies of TCP Fast Open are made with (RFC 7413).

use std::fmt;

/// None, one or two keys of 16 bytes (`TCP_FASTOPEN_KEY`): cookies are made with the first, and those
/// of the second are believed as well, so that servers behind one address can change keys one by one.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct FastOpenKeys {
    primary: Option<[u8; KEY_BYTES]>,
    backup: Option<[u8; KEY_BYTES]>,
}

impl FastOpenKeys {
    /// None.
    pub const NONE: FastOpenKeys = FastOpenKeys { primary: None, backup: None };

    /// The key that cookies are made with, and perhaps one more that is believed.
    pub const fn new(primary: [u8; 16], backup: Option<[u8; 16]>) -> Self {
        FastOpenKeys { primary: Some(primary), backup }
    }

    /// Keys as `TCP_FASTOPEN_KEY` has them: 16 or 32 bytes, the first key first; no bytes are none.
    /// `None` for any other length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (keys, rest) = bytes.as_chunks::<KEY_BYTES>();
        match (keys, rest) {
            ([], []) => Some(FastOpenKeys::NONE),
            ([primary], []) => Some(FastOpenKeys::new(*primary, None)),
            ([primary, backup], []) => Some(FastOpenKeys::new(*primary, Some(*backup))),
            _ => None,
        }
    }

    /// As [`from_bytes`](Self::from_bytes) reads them.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.primary.into_iter().chain(self.backup).flatten().collect()
    }

    /// The key that cookies are made with.
    pub const fn primary(&self) -> Option<&[u8; 16]> {
        self.primary.as_ref()
    }

    /// The other key whose cookies are believed.
    pub const fn backup(&self) -> Option<&[u8; 16]> {
        self.backup.as_ref()
    }
}

impl fmt::Debug for FastOpenKeys {
    /// How many; not which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.primary.into_iter().chain(self.backup).count();
        write!(f, "FastOpenKeys({count})")
    }
}

/// `TCP_FASTOPEN_KEY_LENGTH`.
const KEY_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_16_or_32_bytes_and_come_back() {
        let bytes: Vec<u8> = (0..64).collect();
        for len in 0..=bytes.len() {
            let keys = FastOpenKeys::from_bytes(&bytes[..len]);
            assert_eq!(keys.is_some(), [0, 16, 32].contains(&len), "{len}");
            assert!(keys.is_none_or(|keys| keys.to_bytes() == bytes[..len]));
        }
        assert_eq!(FastOpenKeys::from_bytes(&[]), Some(FastOpenKeys::NONE));
    }

    #[test]
    fn keys_are_not_shown() {
        let keys = FastOpenKeys::new([0xab; 16], Some([0xcd; 16]));
        assert_eq!(format!("{keys:?}"), "FastOpenKeys(2)");
    }
}
