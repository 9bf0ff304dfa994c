//! The numbers and names that travel between the crates, each with a type of its own.

use std::fmt;
use std::time::Duration;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! name16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name(pub [u8; 16]);

        // The order of the bytes, compared as one number: a checkpoint sorts millions of them.
        impl Ord for $name {
            #[inline]
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
            }
        }

        impl PartialOrd for $name {
            #[inline]
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    };
}

number! {
    /// A record's position in the log of one engine: 1, 2, 3 …, one per record, without gaps. 0 is none.
    Lsn(u64)
}
number! {
    /// The number of a commit of one object: 1, 2, 3 … without gaps. 0 is none.
    Seq(u64)
}
number! {
    /// Counts the openings of an engine for writing; each one writes under an epoch of its own.
    Epoch(u64)
}
number! {
    /// A namespace, numbered within its engine.
    NamespaceId(u32)
}
number! {
    /// A segment file of the log. A recycled file keeps its id and gets a new salt.
    SegmentId(u64)
}
number! {
    /// A time in microseconds since the Unix epoch.
    Micros(u64)
}
name16! {
    /// The random name that an engine drew when its data directory was made.
    EngineId
}
name16! {
    /// An object, named within its namespace.
    ObjectId
}

impl From<Duration> for Micros {
    /// The whole microseconds of a time; as many as there can be where it is longer.
    fn from(time: Duration) -> Self {
        Self(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }
}

impl Lsn {
    /// No record.
    pub const NONE: Self = Self(0);

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Seq {
    /// No commit.
    pub const NONE: Self = Self(0);
    /// Beyond every commit that comes to be. Who reads a number from a disk refuses it from here on, so that counting on
    /// from it never overflows.
    pub const END: Self = Self(1 << 62);

    /// The number of the commit after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Bytes of an [`ObjectKey`] wherever one is stored.
pub const OBJECT_KEY_BYTES: usize = 20;

/// An object, named within its engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The namespace that the object belongs to.
    pub namespace: NamespaceId,
    /// The object's id within the namespace.
    pub id: ObjectId,
}

impl ObjectKey {
    /// The stored form. The namespace is big-endian, so that the order of the bytes is the order of the keys.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; OBJECT_KEY_BYTES] {
        let mut bytes = [0; OBJECT_KEY_BYTES];
        bytes[..4].copy_from_slice(&self.namespace.0.to_be_bytes());
        bytes[4..].copy_from_slice(&self.id.0);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; every 20 bytes are a key.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; OBJECT_KEY_BYTES]) -> Self {
        let [a, b, c, d, id @ ..] = *bytes;
        let namespace = NamespaceId(u32::from_be_bytes([a, b, c, d]));
        Self { namespace, id: ObjectId(id) }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.id)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_bytes_is_the_order_of_the_keys() {
        let key = |namespace, byte| ObjectKey { namespace: NamespaceId(namespace), id: ObjectId([byte; 16]) };
        let keys = [key(0, 255), key(1, 0), key(255, 9), key(256, 0), key(u32::MAX, 1)];
        for pair in keys.windows(2) {
            assert!(pair[0] < pair[1]);
            assert!(pair[0].to_bytes() < pair[1].to_bytes());
        }
        for key in keys {
            assert_eq!(ObjectKey::from_bytes(&key.to_bytes()), key);
        }
    }
}
