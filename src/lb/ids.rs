//! Small numbers with a meaning, so that one cannot be passed for another.

/// Index of a `[[port]]` in the configuration, the same on every worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct PortId(pub u8);

impl PortId {
    /// As an index into per-port arrays.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Index of a worker, 0 to `workers - 1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

impl WorkerId {
    /// As an index into per-worker arrays.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Index of a service in one snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

impl ServiceId {
    /// As an index into the snapshot's services.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A backend for the life of the process: a slot, and the generation of what lives in it.
///
/// Connections hold this number over configuration changes. When a backend goes and another takes its slot, the
/// generation differs, so an old connection can never be sent to the wrong server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct BackendId(u32);

impl BackendId {
    /// Slots that exist; the generation takes the bits above.
    pub const SLOTS_MAX: usize = 1 << Self::SLOT_BITS;
    const SLOT_BITS: u32 = 20;

    /// `slot` below [`Self::SLOTS_MAX`]; `generation` is taken modulo 4096.
    pub fn new(slot: usize, generation: u32) -> Self {
        let slot = slot & (Self::SLOTS_MAX - 1);
        Self((generation << Self::SLOT_BITS) | slot as u32)
    }

    /// Index into per-backend arrays.
    #[inline]
    pub fn slot(self) -> usize {
        self.0 as usize & (Self::SLOTS_MAX - 1)
    }

    /// Slot and generation in one number, to compare.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The number that [`bits`](Self::bits) gave.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Which of the slot's successive backends this is.
    pub fn generation(self) -> u32 {
        self.0 >> Self::SLOT_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backend_id_keeps_slot_and_generation_apart() {
        let id = BackendId::new(77, 4095);
        assert_eq!((id.slot(), id.generation()), (77, 4095));
        assert_eq!(BackendId::new(77, 4096), BackendId::new(77, 0));
        assert_ne!(BackendId::new(77, 1), BackendId::new(77, 2));
    }
}
