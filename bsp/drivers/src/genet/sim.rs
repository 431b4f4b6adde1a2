//! A simulated GENET v5 with a PHY, which moves frames between its rings and the test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::vec::Vec;

use sis_hal::DmaBuffer;

use crate::sim::{Device, SimDma};

const RX: usize = 0x2000;
const TX: usize = 0x4000;
const RING: usize = 0xc00 + 16 * 0x40;
const COMMON: usize = 0xc00 + 17 * 0x40;
const CMD: usize = 0x808;
const MDIO: usize = 0xe14;
const BUSY: u32 = 1 << 29;

/// The simulated controller. It moves frames only when it was set up in the order that the hardware needs.
#[derive(Debug)]
pub struct SimGenet {
    buffer: Arc<SimDma>,
    registers: BTreeMap<usize, u32>,
    /// Registers of the PHY, by number.
    pub phy: BTreeMap<u32, u16>,
    /// The PHY's address; others do not answer.
    pub phy_address: u32,
    /// The MDIO bus stays busy.
    pub mdio_hangs: bool,
    /// Frames that were sent, with what the MAC adds left out.
    pub sent: Vec<Vec<u8>>,
    /// Sending stands still.
    pub is_held: bool,
    /// How often the PHY was asked to negotiate.
    pub negotiations: u32,
    /// Where the device is in its rings, in descriptors.
    write_slot: usize,
    read_slot: usize,
}

impl SimGenet {
    /// A controller after reset, which sees `buffer`, whose indices stand at `index`.
    pub fn new(buffer: Arc<SimDma>, index: u16) -> Self {
        let index = u32::from(index);
        let registers = [(0, 0x0600_0000), (RX + RING + 0x08, index), (TX + RING + 0x08, index)];
        Self {
            buffer,
            registers: registers.into_iter().collect(),
            // A gigabit at both ends.
            phy: [
                (0, 0x1140),
                (1, 0x796d),
                (4, 0x01e1),
                (5, 0xc1e1),
                (9, 0x0300),
                (10, 0x3c00),
            ]
            .into_iter()
            .collect(),
            phy_address: 1,
            mdio_hangs: false,
            sent: Vec::new(),
            is_held: false,
            negotiations: 0,
            write_slot: 0,
            read_slot: 0,
        }
    }

    /// What a register holds.
    pub fn get(&self, offset: usize) -> u32 {
        self.registers.get(&offset).copied().unwrap_or(0)
    }

    /// Makes it another revision.
    pub fn set_revision(&mut self, revision: u32) {
        self.registers.insert(0, revision);
    }

    fn slots(&self, direction: usize) -> usize {
        let (start, end) = (self.get(direction + RING + 0x14), self.get(direction + RING + 0x1c));
        assert_eq!(start, 0, "the ring begins elsewhere");
        let words = end + 1;
        assert!(
            words.is_multiple_of(3) && words <= 256 * 3,
            "the ring has {words} words"
        );
        let slots = words as usize / 3;
        assert_eq!(self.get(direction + RING + 0x10) >> 16, slots as u32, "two lengths");
        slots
    }

    fn is_on(&self, direction: usize) -> bool {
        let control = self.get(direction + COMMON + 0x04);
        control & 1 != 0 && control & 1 << 17 != 0 && self.get(direction + COMMON) == 1 << 16
    }

    fn descriptor(&self, direction: usize, slot: usize) -> (u32, u64) {
        let at = direction + slot * 12;
        let address = u64::from(self.get(at + 4)) | u64::from(self.get(at + 8)) << 32;
        (self.get(at), address)
    }

    fn offset(&self, address: u64, len: usize) -> usize {
        let offset = address.checked_sub(self.buffer.bus_addr().as_u64());
        let offset = offset.expect("a descriptor names memory that is not the driver's") as usize;
        assert!(
            offset + len <= self.buffer.len(),
            "a descriptor names memory behind the driver's"
        );
        offset
    }

    /// A frame comes in; whether there was room for it. `flags` are the descriptor's error bits.
    pub fn deliver(&mut self, frame: &[u8], flags: u32) -> bool {
        let (made, taken) = (self.get(RX + RING + 0x08), self.get(RX + RING + 0x0c));
        let slots = self.slots(RX);
        if !self.is_on(RX) || self.get(CMD) & 2 == 0 || (made as u16).wrapping_sub(taken as u16) as usize == slots {
            return false;
        }
        assert_ne!(
            self.get(0x300) & 2,
            0,
            "frames are expected two bytes into their buffers"
        );
        let (_, address) = self.descriptor(RX, self.write_slot);
        // Room is what the ring says; what a descriptor says of it counts for nothing.
        let room = self.get(RX + RING + 0x10) & 0xffff;
        let len = (frame.len() + 2).min(room as usize);
        let offset = self.offset(address, len);
        let padded = [&[0xaa, 0xaa], frame].concat();
        self.buffer.device_view()[offset..offset + len].copy_from_slice(&padded[..len]);
        let status = (len as u32) << 16 | 0x6000 | flags;
        self.registers.insert(RX + self.write_slot * 12, status);
        self.write_slot = (self.write_slot + 1) % slots;
        self.registers.insert(RX + RING + 0x08, (made + 1) & 0xffff);
        self.raise(1 << 13);
        true
    }

    /// Sends what waits.
    pub fn send_all(&mut self) {
        let slots = self.slots(TX);
        while self.get(TX + RING + 0x08) & 0xffff != self.get(TX + RING + 0x0c) & 0xffff {
            assert!(self.is_on(TX), "frames were given to a ring that stands still");
            assert_ne!(self.get(CMD) & 1, 0, "frames were given to a MAC that does not send");
            let (status, address) = self.descriptor(TX, self.read_slot);
            assert_eq!(status & 0x6040, 0x6040, "a frame in pieces, or without its checksum");
            let len = (status >> 16 & 0xfff) as usize;
            assert!(len >= 60, "a frame of {len} bytes is too short for the wire");
            let offset = self.offset(address, len);
            let frame = self.buffer.device_view()[offset..offset + len].to_vec();
            self.sent.push(frame);
            self.read_slot = (self.read_slot + 1) % slots;
            let done = self.get(TX + RING + 0x08);
            self.registers.insert(TX + RING + 0x08, (done + 1) & 0xffff);
            self.raise(1 << 16);
        }
    }

    fn raise(&mut self, bits: u32) {
        let status = self.get(0x200) | bits;
        self.registers.insert(0x200, status);
    }

    /// Whether the interrupt line is up.
    pub fn is_interrupting(&self) -> bool {
        self.get(0x200) & !self.get(0x20c) != 0
    }

    fn mdio(&mut self, value: u32) {
        let (phy, register) = (value >> 21 & 0x1f, value >> 16 & 0x1f);
        let is_read = value >> 26 & 3 == 2;
        let answer = if phy != self.phy_address {
            1 << 28 | 0xffff
        } else if is_read {
            let value = self.phy.get(&register).copied().unwrap_or(0);
            if register == 1 && value & 4 == 0 && self.phy.get(&99) == Some(&1) {
                // The link is back: the loss was latched, and is shown once.
                self.phy.insert(99, 0);
                self.phy.insert(1, value | 4);
            }
            u32::from(value)
        } else {
            if register == 0 && value & 1 << 9 != 0 {
                self.negotiations += 1;
            }
            self.phy.insert(register, value as u16 & !(1 << 9));
            0
        };
        self.registers.insert(MDIO, (value & !BUSY & !0xffff) | answer);
    }
}

impl Device for SimGenet {
    const SIZE: usize = 0x1_0000;

    fn read(&mut self, offset: usize) -> u32 {
        assert!(offset < 0x6000, "the driver has no business reading {offset:#x}");
        self.get(offset)
    }

    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            // Read only, and the indices that are the device's.
            0x000 | 0x200 => panic!("{value:#x} written to {offset:#x}, which is read only"),
            _ if offset == RX + RING + 0x08 || offset == TX + RING + 0x08 => {
                panic!("the device's own index was written")
            }
            0x208 => {
                let status = self.get(0x200) & !value;
                self.registers.insert(0x200, status);
            }
            0x210 => {
                let mask = self.get(0x20c) | value;
                self.registers.insert(0x20c, mask);
            }
            0x214 => {
                let mask = self.get(0x20c) & !value;
                self.registers.insert(0x20c, mask);
            }
            MDIO => {
                self.registers.insert(MDIO, value);
                if value & BUSY != 0 && !self.mdio_hangs {
                    self.mdio(value);
                }
            }
            CMD => {
                if value & 1 << 13 != 0 {
                    assert_ne!(value & 1 << 15, 0, "reset without a clock");
                }
                self.registers.insert(CMD, value);
            }
            _ => {
                self.registers.insert(offset, value);
                match offset {
                    _ if offset == RX + RING => self.write_slot = value as usize / 3,
                    _ if offset == TX + RING => self.read_slot = value as usize / 3,
                    _ if offset == TX + RING + 0x0c && self.is_on(TX) && !self.is_held => self.send_all(),
                    _ => {}
                }
            }
        }
    }
}
