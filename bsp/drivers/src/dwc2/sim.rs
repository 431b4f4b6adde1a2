//! A simulated controller with a simulated bus.

use std::vec::Vec;

use sis_hal::DmaBuffer;

use crate::sim::{Device, SimDma};
use crate::usb::Setup;
use crate::usb::sim::SimDevice;

/// How transfers go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They never end.
    Silence,
    /// The bus fails them.
    Errors,
}

#[derive(Clone, Copy, Default)]
struct Channel {
    character: u32,
    interrupt: u32,
    mask: u32,
    size: u32,
    dma: u32,
}

/// The controller. It does transfers when they are started, but for those that the device has nothing for yet: those go on
/// with [`tick`](Self::tick).
pub struct SimDwc2 {
    registers: [u32; 0x400],
    channels: [Channel; 8],
    port: u32,
    /// What is plugged in.
    pub root: Option<SimDevice>,
    memory: Vec<&'static SimDma>,
    /// What goes wrong from now on.
    pub fault: Option<Fault>,
    setup: Option<Setup>,
    answer: Vec<u8>,
}

impl SimDwc2 {
    /// A controller that reaches these pieces of memory.
    pub fn new(root: Option<SimDevice>, memory: Vec<&'static SimDma>) -> Self {
        let mut registers = [0; 0x400];
        registers[0x40 / 4] = 0x4f54_280a;
        registers[0x48 / 4] = 7 << 14 | 2 << 3;
        Self {
            registers,
            channels: [Channel::default(); 8],
            port: 0,
            root,
            memory,
            fault: None,
            setup: None,
            answer: Vec::new(),
        }
    }

    /// Whether the interrupt line is raised.
    pub fn line(&self) -> bool {
        let raised = self
            .channels
            .iter()
            .enumerate()
            .any(|(i, c)| c.interrupt & c.mask != 0 && self.registers[0x418 / 4] & (1 << i) != 0);
        raised && self.registers[0x18 / 4] & (1 << 25) != 0 && self.registers[8 / 4] & 1 != 0
    }

    /// Goes on with what waits for a device.
    pub fn tick(&mut self) {
        for index in 0..self.channels.len() {
            if self.channels[index].character >> 31 != 0 {
                self.run(index);
            }
        }
    }

    fn memory(&self, at: u32, len: usize) -> (&'static SimDma, usize) {
        for piece in &self.memory {
            let start = piece.bus_addr().0;
            if u64::from(at) >= start && u64::from(at) + len as u64 <= start + piece.len() as u64 {
                return (piece, (u64::from(at) - start) as usize);
            }
        }
        panic!("the controller was sent to {at:#x}, {len} bytes, where it has no memory");
    }

    fn finish(&mut self, index: usize, bits: u32) {
        let channel = &mut self.channels[index];
        channel.character &= !(1 << 31);
        channel.interrupt |= bits | 2;
    }

    fn run(&mut self, index: usize) {
        match self.fault {
            Some(Fault::Silence) => return,
            Some(Fault::Errors) => return self.finish(index, 1 << 7),
            None => {}
        }
        assert!(self.port & 4 != 0, "a transfer while the port is not enabled");
        let c = self.channels[index];
        let is_in = c.character & 1 << 15 != 0;
        let packet = (c.character & 0x7ff) as usize;
        let endpoint = (c.character >> 11 & 15) as u8;
        let len = (c.size & 0x7_ffff) as usize;
        let packets = (c.size >> 19 & 0x3ff) as usize;
        assert_eq!(packets, len.div_ceil(packet).max(1), "packets for {len} bytes");
        assert!(!is_in || len.is_multiple_of(packet), "room for part of a packet");
        let address = (c.character >> 22 & 0x7f) as u8;
        let Some(device) = self.root.as_mut().and_then(|r| r.find(address)) else {
            return self.finish(index, 1 << 7);
        };
        if c.character >> 18 & 3 == 0 {
            return self.control(index, address);
        }
        if is_in {
            let mut got = Vec::new();
            loop {
                let Some(one) = device.peripheral.bulk_in(endpoint) else {
                    assert!(got.is_empty(), "a frame without its end");
                    return;
                };
                got.extend(&one);
                if one.len() < packet || got.len() == len {
                    break;
                }
            }
            let (memory, at) = self.memory(c.dma, got.len());
            memory.device_view()[at..at + got.len()].copy_from_slice(&got);
            self.end_data(index, got.len(), packet);
        } else {
            let (memory, at) = self.memory(c.dma, len);
            let data = memory.device_view()[at..at + len].to_vec();
            let device = self.root.as_mut().and_then(|r| r.find(address)).unwrap();
            if data.is_empty() {
                device.peripheral.bulk_out(endpoint, &[]);
            }
            for one in data.chunks(packet) {
                device.peripheral.bulk_out(endpoint, one);
            }
            self.end_data(index, len, packet);
        }
    }

    /// Counts what was transferred, and turns the toggle once a packet.
    fn end_data(&mut self, index: usize, done: usize, packet: usize) {
        let size = &mut self.channels[index].size;
        let left = (*size & 0x7_ffff) - done as u32;
        let mut pid = *size >> 29 & 3;
        if (done / packet + usize::from(!done.is_multiple_of(packet) || done == 0)) % 2 == 1 {
            pid ^= 2;
        }
        *size = pid << 29 | left;
        self.finish(index, 1);
    }

    fn control(&mut self, index: usize, address: u8) {
        let c = self.channels[index];
        let is_in = c.character & 1 << 15 != 0;
        let len = c.size & 0x7_ffff;
        let pid = c.size >> 29 & 3;
        if pid == 3 {
            assert!(!is_in && len == 8, "a setup stage is eight bytes out");
            let (memory, at) = self.memory(c.dma, 8);
            let b: [u8; 8] = memory.device_view()[at..at + 8].try_into().unwrap();
            let word = |i: usize| u16::from_le_bytes([b[i], b[i + 1]]);
            let setup = Setup {
                request_type: b[0],
                request: b[1],
                value: word(2),
                index: word(4),
                length: word(6),
            };
            self.setup = Some(setup);
            self.answer.clear();
            return self.finish(index, 1);
        }
        assert_eq!(pid, 2, "data and status stages begin with DATA1");
        let setup = self.setup.expect("a setup stage comes first");
        if len > 0 {
            assert!(is_in && setup.is_read());
            let device = self.root.as_mut().and_then(|r| r.find(address)).unwrap();
            let Some(answer) = device.request(setup) else {
                return self.finish(index, 1 << 3);
            };
            let (memory, at) = self.memory(c.dma, answer.len());
            memory.device_view()[at..at + answer.len()].copy_from_slice(&answer);
            self.channels[index].size = c.size & !0x7_ffff | (len - answer.len() as u32);
            return self.finish(index, 1);
        }
        self.setup = None;
        assert_eq!(is_in, setup.length == 0, "a status stage goes against the data");
        if setup.length == 0 {
            let device = self.root.as_mut().and_then(|r| r.find(address)).unwrap();
            if device.request(setup).is_none() {
                return self.finish(index, 1 << 3);
            }
        }
        self.finish(index, 1);
    }
}

impl Device for SimDwc2 {
    const SIZE: usize = 0x1000;

    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            // Resets and flushes end at once.
            0x10 => 1 << 31,
            0x14 => 1,
            0x440 => self.port,
            0x500..0x600 => {
                let c = self.channels[(offset - 0x500) / 0x20];
                match offset & 0x1c {
                    0 => c.character,
                    8 => c.interrupt,
                    0xc => c.mask,
                    0x10 => c.size,
                    0x14 => c.dma,
                    _ => 0,
                }
            }
            _ => self.registers[offset / 4],
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x440 => {
                let had_reset = self.port & 1 << 8 != 0;
                let cleared = value & (1 << 1 | 1 << 2 | 1 << 3 | 1 << 5);
                self.port = self.port & !cleared & !(1 << 12 | 1 << 8) | value & (1 << 12 | 1 << 8);
                if self.port & 1 << 12 != 0 && self.root.is_some() {
                    self.port |= 1 | 1 << 17;
                }
                if had_reset && value & 1 << 8 == 0 && self.root.is_some() {
                    self.port |= 1 << 2 | 1 << 3;
                }
            }
            0x500..0x600 => {
                let index = (offset - 0x500) / 0x20;
                let c = &mut self.channels[index];
                match offset & 0x1c {
                    0 => {
                        let was_enabled = c.character >> 31 != 0;
                        c.character = value & !(1 << 30);
                        if value & 1 << 30 != 0 {
                            return self.finish(index, 0);
                        }
                        if value >> 31 != 0 {
                            assert!(!was_enabled, "channel {index} is started while it is busy");
                            self.run(index);
                        }
                    }
                    8 => c.interrupt &= !value,
                    0xc => c.mask = value,
                    0x10 => c.size = value,
                    0x14 => c.dma = value,
                    _ => assert_eq!(value, 0, "split transactions"),
                }
            }
            _ => self.registers[offset / 4] = value,
        }
    }
}
