//! Takes inputs apart. An input that ends early is one of zeros from there on, so that cutting one is a small change.

/// Reads forward through an input.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// At most so many bytes.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub(crate) fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// A number that is mostly small: one byte, or all eight behind 0xff.
    pub(crate) fn number(&mut self) -> u64 {
        match self.u8() {
            0xff => u64::from_le_bytes(self.array()),
            small => u64::from(small),
        }
    }

    /// Bytes behind their length in one byte.
    pub(crate) fn short(&mut self) -> &'a [u8] {
        let count = self.u8();
        self.take(count.into())
    }

    /// Bytes behind their length in two bytes.
    pub(crate) fn long(&mut self) -> &'a [u8] {
        let count = self.u16();
        self.take(count.into())
    }
}

/// Writes what [`Input`] reads.
#[derive(Default)]
pub(crate) struct Output(pub(crate) Vec<u8>);

impl Output {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn number(&mut self, value: u64) {
        match u8::try_from(value) {
            Ok(small) if small < 0xff => self.u8(small),
            _ => {
                self.u8(0xff);
                self.0.extend_from_slice(&value.to_le_bytes());
            }
        }
    }

    pub(crate) fn short(&mut self, bytes: &[u8]) {
        self.u8(u8::try_from(bytes.len()).expect("seeds are small"));
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn long(&mut self, bytes: &[u8]) {
        let count = u16::try_from(bytes.len()).expect("seeds are small");
        self.0.extend_from_slice(&count.to_le_bytes());
        self.0.extend_from_slice(bytes);
    }
}
