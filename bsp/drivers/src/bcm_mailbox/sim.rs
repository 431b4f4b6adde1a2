//! A simulated VideoCore at the other end of the mailbox.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::vec::Vec;

use sis_hal::DmaBuffer;

use crate::sim::{Device, SimDma};

/// The simulated firmware. It sees only what the driver has synchronised for it.
#[derive(Debug)]
pub struct SimVideoCore {
    buffer: Arc<SimDma>,
    /// The answer to each tag, in words; other tags are unknown.
    pub properties: BTreeMap<u32, Vec<u32>>,
    /// Requests as they came: tag and values.
    pub requests: Vec<(u32, Vec<u32>)>,
    /// Status reads until an answer is there; `None` = never.
    pub delay: Option<u32>,
    /// The code to refuse every request with.
    pub refuse_with: Option<u32>,
    /// The request mailbox never has room.
    pub is_full: bool,
    /// Messages on their way to the ARM cores.
    pub outbox: VecDeque<u32>,
    pending: Option<(u32, u32)>,
}

impl SimVideoCore {
    /// Firmware that sees `buffer`.
    pub fn new(buffer: Arc<SimDma>) -> Self {
        Self {
            buffer,
            properties: BTreeMap::new(),
            requests: Vec::new(),
            delay: Some(3),
            refuse_with: None,
            is_full: false,
            outbox: VecDeque::new(),
            pending: None,
        }
    }

    fn word(memory: &[u8], index: usize) -> u32 {
        u32::from_le_bytes(memory[4 * index..4 * index + 4].try_into().unwrap())
    }

    fn set(memory: &mut [u8], index: usize, word: u32) {
        memory[4 * index..4 * index + 4].copy_from_slice(&word.to_le_bytes());
    }

    fn answer(&mut self, message: u32) {
        let buffer = Arc::clone(&self.buffer);
        let mut memory = buffer.device_view();
        let total = Self::word(&memory, 0) as usize;
        assert_eq!(Self::word(&memory, 1), 0, "not a request");
        assert_eq!(Self::word(&memory, total / 4 - 1), 0, "no end mark");
        let mut at = 2;
        while at < total / 4 - 1 {
            let (tag, value_bytes) = (Self::word(&memory, at), Self::word(&memory, at + 1) as usize);
            let request_bytes = Self::word(&memory, at + 2) as usize;
            assert!(request_bytes <= value_bytes);
            let values = (0..request_bytes / 4)
                .map(|index| Self::word(&memory, at + 3 + index))
                .collect();
            self.requests.push((tag, values));
            if self.refuse_with.is_none()
                && let Some(answer) = self.properties.get(&tag)
            {
                for (index, word) in answer.iter().enumerate().take(value_bytes / 4) {
                    Self::set(&mut memory, at + 3 + index, *word);
                }
                Self::set(&mut memory, at + 2, 0x8000_0000 | (4 * answer.len() as u32));
            }
            at += 3 + value_bytes / 4;
        }
        assert_eq!(at, total / 4 - 1, "size does not fit the tags");
        Self::set(&mut memory, 1, self.refuse_with.unwrap_or(0x8000_0000));
        self.outbox.push_back(message);
    }
}

impl Device for SimVideoCore {
    const SIZE: usize = 0x40;

    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0x00 => self.outbox.pop_front().expect("read an empty mailbox"),
            0x18 => {
                if let (Some((message, waited)), Some(delay)) = (self.pending, self.delay) {
                    self.pending = Some((message, waited + 1));
                    if waited >= delay {
                        self.pending = None;
                        self.answer(message);
                    }
                }
                if self.outbox.is_empty() { 1 << 30 } else { 0 }
            }
            0x38 => {
                if self.is_full {
                    1 << 31
                } else {
                    1 << 30
                }
            }
            _ => panic!("the driver has no business reading {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        assert_eq!(
            offset, 0x20,
            "the driver has no business writing {value:#x} to {offset:#x}"
        );
        assert!(!self.is_full, "wrote to a full mailbox");
        assert_eq!(value & 0xf, 8, "not the property channel");
        assert_eq!(
            u64::from(value & !0xf),
            self.buffer.bus_addr().as_u64(),
            "not the buffer"
        );
        self.pending = Some((value, 0));
    }
}
