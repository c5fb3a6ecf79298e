//! A bounded queue of frames between a worker and the host's thread, in which neither ever waits for the other.
//!
//! Each frame lies in a slot of its own with a lock that is only tried: whoever finds it taken goes on with something else.
//! A thread that loses its CPU in the middle of a step holds up one slot, which a ring of pointers could not promise.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use crate::lb::ids::PortId;

/// The end that puts frames in.
pub(super) struct Sender {
    slots: Arc<[Mutex<Slot>]>,
    next: usize,
}

/// The end that takes them out.
pub(super) struct Receiver {
    slots: Arc<[Mutex<Slot>]>,
    next: usize,
}

struct Slot {
    port: PortId,
    /// Of the frame in `room`; 0 for none.
    len: usize,
    room: Box<[u8]>,
}

/// A queue of `count` frames of up to `frame_len_max` bytes. Allocates all that it will ever use.
pub(super) fn mailbox(count: usize, frame_len_max: usize) -> (Sender, Receiver) {
    let slot = |_| Mutex::new(Slot { port: PortId(0), len: 0, room: vec![0; frame_len_max].into() });
    let slots: Arc<[Mutex<Slot>]> = (0..count).map(slot).collect();
    (Sender { slots: slots.clone(), next: 0 }, Receiver { slots, next: 0 })
}

impl Sender {
    /// Lets `fill` write a frame and say how long it is; false if there is no room, or it has written none.
    pub(super) fn put(&mut self, port: PortId, fill: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        let Some(mut slot) = self.slots.get(self.next).and_then(try_lock).filter(|slot| slot.len == 0) else {
            return false;
        };
        let len = fill(&mut slot.room).unwrap_or(0);
        if len == 0 {
            return false;
        }
        (slot.port, slot.len) = (port, len);
        self.next = following(self.next, &self.slots);
        true
    }

    /// Whether there is no room now.
    pub(super) fn is_full(&self) -> bool {
        self.slots.get(self.next).and_then(try_lock).is_none_or(|slot| slot.len != 0)
    }
}

impl Receiver {
    /// The next frame for `with`; false if there is none.
    pub(super) fn take(&mut self, with: impl FnOnce(PortId, &[u8])) -> bool {
        let Some(mut slot) = self.slots.get(self.next).and_then(try_lock).filter(|slot| slot.len != 0) else {
            return false;
        };
        with(slot.port, slot.room.get(..slot.len).unwrap_or_default());
        slot.len = 0;
        self.next = following(self.next, &self.slots);
        true
    }
}

fn following<T>(at: usize, slots: &[T]) -> usize {
    if at + 1 < slots.len() { at + 1 } else { 0 }
}

/// What a panic has left behind is a frame like any other.
fn try_lock(slot: &Mutex<Slot>) -> Option<MutexGuard<'_, Slot>> {
    match slot.try_lock() {
        Ok(slot) => Some(slot),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(sender: &mut Sender, frame: &[u8]) -> bool {
        sender.put(PortId(3), |room| {
            room.get_mut(..frame.len())?.copy_from_slice(frame);
            Some(frame.len())
        })
    }

    fn take(receiver: &mut Receiver) -> Option<Vec<u8>> {
        let mut taken = None;
        receiver.take(|port, frame| {
            assert_eq!(port, PortId(3));
            taken = Some(frame.to_vec());
        });
        taken
    }

    #[test]
    fn frames_come_out_in_order_and_no_more_than_fit() {
        let (mut sender, mut receiver) = mailbox(3, 4);
        for round in 0..5u8 {
            assert_eq!(take(&mut receiver), None);
            for n in 0..3 {
                assert!(!sender.is_full() && put(&mut sender, &[round, n]));
            }
            assert!(sender.is_full() && !put(&mut sender, &[9]));
            for n in 0..3 {
                assert_eq!(take(&mut receiver), Some(vec![round, n]));
            }
        }
        assert!(!put(&mut sender, &[0; 5]), "too long");
        assert!(!sender.put(PortId(3), |_| None), "nothing written");
        assert!(put(&mut sender, &[1; 4]));
        assert_eq!(take(&mut receiver), Some(vec![1; 4]));
    }

    #[test]
    fn nothing_is_lost_or_changed_between_threads() {
        const FRAMES: u32 = 50_000;
        let (mut sender, mut receiver) = mailbox(8, 64);
        let other = std::thread::spawn(move || {
            for n in 0..FRAMES {
                let frame = n.to_be_bytes().repeat(1 + n as usize % 16);
                while !put(&mut sender, &frame) {
                    std::thread::yield_now();
                }
            }
        });
        for n in 0..FRAMES {
            let frame = loop {
                match take(&mut receiver) {
                    Some(frame) => break frame,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(frame, n.to_be_bytes().repeat(1 + n as usize % 16));
        }
        assert!(other.join().is_ok() && take(&mut receiver).is_none());
    }

    #[test]
    fn who_finds_a_slot_taken_does_not_wait() {
        let (mut sender, mut receiver) = mailbox(2, 4);
        let slots = sender.slots.clone();
        let held = slots[0].lock();
        assert!(!put(&mut sender, &[1]) && take(&mut receiver).is_none() && sender.is_full());
        drop(held);
        assert!(put(&mut sender, &[1]) && take(&mut receiver).is_some());
    }
}
