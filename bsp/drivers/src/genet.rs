//! GENET v5, the gigabit Ethernet controller of the BCM2711, with its external PHY.
//!
//! Not in Broadcom's manual. Sources: Linux, `drivers/net/ethernet/broadcom/genet/bcmgenet.h` and `bcmmii.c`; U-Boot,
//! `drivers/net/bcmgenet.c`; the PHY's standard registers, IEEE 802.3 clause 22.2.4. QEMU's `raspi4b` does not have the device
//! (its addresses abort): it is touched only when the device tree names it. **No real one has been driven yet.**
//!
//! The descriptors live in the device's own registers, so only the frames are in memory. There are 17 rings each way; only the
//! default one, number 16, is used. The device's indices count frames modulo 65,536 and cannot be set to zero: the driver
//! takes them as it finds them.

use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use sis_hal::{Clock, DmaBuffer, MacAddr, NetCounters, NetDevice, NetStats, Registers, Timeout, TxError, wait_until};

use crate::busy::Busy;
use crate::reg::Reg;

mod phy;
mod regs;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;

use phy::Speed;
use regs::{
    CMD, DEFAULT_RING, DESCRIPTOR, DMA_COMMON, DMA_CTRL, DMA_RING_CFG, DMA_SCB_BURST_SIZE, EXT_RGMII_OOB_CTRL,
    INTRL2_CLEAR, INTRL2_MASK_CLEAR, INTRL2_MASK_SET, INTRL2_STAT, IRQ, OOB, RBUF_CTRL, RBUF_TBUF_SIZE_CTRL, REV,
    RING_BUF_SIZE, RING_BYTES, RING_END_ADDR, RING_FLOW, RING_MBUF_DONE_THRESH, RING_RX_CONS_INDEX, RING_RX_PROD_INDEX,
    RING_RX_READ_PTR, RING_RX_WRITE_PTR, RING_START_ADDR, RING_TX_CONS_INDEX, RING_TX_PROD_INDEX, RING_TX_READ_PTR,
    RING_TX_WRITE_PTR, RINGS, RX, SYS_PORT_CTRL, SYS_RBUF_FLUSH_CTRL, SYS_REV_CTRL, TX, UMAC_CMD, UMAC_MAC0, UMAC_MAC1,
    UMAC_MAX_FRAME_LEN, UMAC_MIB_CTRL, UMAC_TX_FLUSH,
};

const DMA_ENABLE: u32 = 1;
const DMA_RING_ENABLE: u32 = 1 << (DEFAULT_RING + 1);
const DMA_BURST: u32 = 8;
/// Flow control of the receive ring: off at this many free buffers, on again at that many (Linux's defaults).
const XON_XOFF: u32 = 5 << 16 | (DESCRIPTORS as u32 >> 4);

/// An external PHY of up to a gigabit.
const PORT_MODE_EXT_GPHY: u32 = 3;
/// Frames begin two bytes into their buffer, so that what follows the Ethernet header is aligned.
const RBUF_ALIGN_2B: u32 = 1 << 1;
const RBUF_FLUSH: u32 = 1 << 1;
const MIB_RESET: u32 = 0b111;
/// Body, Ethernet header, VLAN tag, Broadcom's tag, checksum, padding.
const MAX_FRAME_LEN: u32 = 1500 + 14 + 4 + 6 + 4 + 8;
/// What Linux writes where no queue is meant.
const NO_QTAG: u32 = 0x3f;

/// Descriptors in use each way: a power of two, so that indices that wrap at 65,536 wrap at descriptors too.
const DESCRIPTORS: usize = 64;
const DESCRIPTOR_BYTES: usize = 12;
const SLOT: usize = 2048;
const PAD: usize = 2;

const MTU: usize = 1500;
const ETHERNET: usize = 14;
/// The shortest frame without its checksum (IEEE 802.3, 3.2.8).
const FRAME_MIN: usize = 60;

/// Revisions of this register layout call themselves so.
const MAJORS: [u32; 2] = [6, 7];
const SETTLE_NS: u64 = 10_000;
/// How often the PHY is asked whether there is a link.
const LINK_POLL_NS: u64 = 500_000_000;
/// Frames that are thrown away in one call: the device is not looked at without end.
const BAD_FRAMES_MAX: usize = DESCRIPTORS;

/// Bytes of the buffer for frames.
pub const BUFFER_BYTES: usize = 2 * DESCRIPTORS * SLOT;

/// Why there is no interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenetError {
    /// Nothing of this kind is at the address: what it says of its revision.
    NotThere(u32),
    /// The buffer is too small, or its address is not aligned to 64 bytes.
    BadBuffer,
    /// The PHY does not answer.
    NoPhy,
    /// The device does not come to rest.
    Timeout,
}

impl core::fmt::Display for GenetError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotThere(revision) => write!(f, "no GENET v5 answers (revision {revision:#x})"),
            Self::BadBuffer => f.write_str("the buffer for frames is too small or not aligned"),
            Self::NoPhy => f.write_str("the PHY does not answer"),
            Self::Timeout => f.write_str("the controller does not come to rest"),
        }
    }
}

impl core::error::Error for GenetError {}

impl From<Timeout> for GenetError {
    fn from(_: Timeout) -> Self {
        Self::Timeout
    }
}

/// The controller.
pub struct Genet<R, B, K> {
    registers: R,
    frames: B,
    clock: K,
    mac: MacAddr,
    phy_address: u32,
    rx: Busy,
    tx: Busy,
    /// Frames taken, as the device counts them; changed inside `rx`.
    rx_index: AtomicU16,
    /// Frames given, as the device counts them; changed inside `tx`.
    tx_index: AtomicU16,
    /// The PHY and what hangs on it.
    link: Busy,
    is_up: AtomicBool,
    polled_ns: AtomicU64,
    counters: NetCounters,
}

impl<R: Registers, B: DmaBuffer, K: Clock> Genet<R, B, K> {
    /// Resets the controller and begins to receive. `registers` are 0x10000 bytes; `frames` has at least [`BUFFER_BYTES`], where
    /// the controller reaches it; `phy_address` is the device tree's (1 on the Pi 4).
    ///
    /// # Errors
    /// [`GenetError`].
    pub fn new(registers: R, frames: B, clock: K, mac: MacAddr, phy_address: u32) -> Result<Self, GenetError> {
        let revision = SYS_REV_CTRL.get(&registers);
        let major = SYS_REV_CTRL.read(&registers).read(REV::MAJOR);
        if revision == u32::MAX || !MAJORS.contains(&major) {
            return Err(GenetError::NotThere(revision));
        }
        if frames.len() < BUFFER_BYTES || !frames.bus_addr().as_u64().is_multiple_of(64) {
            return Err(GenetError::BadBuffer);
        }
        let genet = Self {
            registers,
            frames,
            clock,
            mac,
            phy_address,
            rx: Busy::new(),
            tx: Busy::new(),
            rx_index: AtomicU16::new(0),
            tx_index: AtomicU16::new(0),
            link: Busy::new(),
            is_up: AtomicBool::new(false),
            polled_ns: AtomicU64::new(0),
            counters: NetCounters::default(),
        };
        genet.reset()?;
        genet.set_mac();
        genet.stop_dma()?;
        genet.set_up_rx();
        genet.set_up_tx();
        genet.start_dma();
        phy::start(&genet.registers, &genet.clock, phy_address)?;
        genet.poll_link()?;
        UMAC_CMD.modify(&genet.registers, CMD::TX_EN::SET + CMD::RX_EN::SET);
        INTRL2_MASK_CLEAR.write(&genet.registers, IRQ::RX_DONE::SET + IRQ::TX_DONE::SET);
        Ok(genet)
    }

    fn settle(&self) -> Result<(), GenetError> {
        let start = self.clock.now_ns();
        Ok(wait_until(&self.clock, 10 * SETTLE_NS, || {
            self.clock.now_ns().saturating_sub(start) >= SETTLE_NS
        })?)
    }

    fn reset(&self) -> Result<(), GenetError> {
        let r = &self.registers;
        INTRL2_MASK_SET.set(r, u32::MAX);
        INTRL2_CLEAR.set(r, u32::MAX);
        SYS_PORT_CTRL.set(r, PORT_MODE_EXT_GPHY);
        let flush = SYS_RBUF_FLUSH_CTRL.get(r);
        SYS_RBUF_FLUSH_CTRL.set(r, flush | RBUF_FLUSH);
        self.settle()?;
        SYS_RBUF_FLUSH_CTRL.set(r, flush & !RBUF_FLUSH);
        self.settle()?;
        SYS_RBUF_FLUSH_CTRL.set(r, 0);
        self.settle()?;
        UMAC_CMD.set(r, 0);
        // The loop keeps the clock that the reset needs running.
        UMAC_CMD.write(r, CMD::SW_RESET::SET + CMD::LCL_LOOP_EN::SET);
        self.settle()?;
        UMAC_CMD.set(r, 0);
        UMAC_MIB_CTRL.set(r, MIB_RESET);
        UMAC_MIB_CTRL.set(r, 0);
        UMAC_MAX_FRAME_LEN.set(r, MAX_FRAME_LEN);
        RBUF_CTRL.set(r, RBUF_CTRL.get(r) | RBUF_ALIGN_2B);
        RBUF_TBUF_SIZE_CTRL.set(r, 1);
        Ok(())
    }

    fn set_mac(&self) {
        let [a, b, c, d, e, f] = self.mac.0;
        UMAC_MAC0.set(&self.registers, u32::from_be_bytes([a, b, c, d]));
        UMAC_MAC1.set(&self.registers, u32::from_be_bytes([0, 0, e, f]));
    }

    fn common(direction: usize, register: usize) -> Reg {
        Reg::at(direction + DMA_COMMON + register)
    }

    fn ring(direction: usize, register: usize) -> Reg {
        Reg::at(direction + RINGS + DEFAULT_RING * RING_BYTES + register)
    }

    fn stop_dma(&self) -> Result<(), GenetError> {
        let r = &self.registers;
        for direction in [TX, RX] {
            let control = Self::common(direction, DMA_CTRL);
            control.set(r, control.get(r) & !DMA_ENABLE);
        }
        UMAC_TX_FLUSH.set(r, 1);
        self.settle()?;
        UMAC_TX_FLUSH.set(r, 0);
        Ok(())
    }

    fn start_dma(&self) {
        for direction in [TX, RX] {
            Self::common(direction, DMA_CTRL).set(&self.registers, DMA_RING_ENABLE | DMA_ENABLE);
        }
    }

    /// What both rings have. Answers the descriptor that comes first: where the device's index stands.
    fn set_up(&self, direction: usize, index: u16) -> u32 {
        let r = &self.registers;
        Self::common(direction, DMA_SCB_BURST_SIZE).set(r, DMA_BURST);
        let words = (DESCRIPTORS * DESCRIPTOR_BYTES / 4) as u32;
        Self::ring(direction, RING_START_ADDR).set(r, 0);
        Self::ring(direction, RING_END_ADDR).set(r, words - 1);
        Self::ring(direction, RING_BUF_SIZE).set(r, (DESCRIPTORS as u32) << 16 | SLOT as u32);
        Self::ring(direction, RING_MBUF_DONE_THRESH).set(r, 1);
        Self::common(direction, DMA_RING_CFG).set(r, 1 << DEFAULT_RING);
        (slot_of(index) * DESCRIPTOR_BYTES / 4) as u32
    }

    fn set_up_rx(&self) {
        let r = &self.registers;
        let index = Self::ring(RX, RING_RX_PROD_INDEX).get(r) as u16;
        self.rx_index.store(index, Ordering::Relaxed);
        let pointer = self.set_up(RX, index);
        Self::ring(RX, RING_RX_CONS_INDEX).set(r, u32::from(index));
        Self::ring(RX, RING_RX_READ_PTR).set(r, pointer);
        Self::ring(RX, RING_RX_WRITE_PTR).set(r, pointer);
        Self::ring(RX, RING_FLOW).set(r, XON_XOFF);
        for slot in 0..DESCRIPTORS {
            let status = DESCRIPTOR::LENGTH.val(SLOT as u32) + DESCRIPTOR::OWN::SET;
            self.describe(RX, slot, self.rx_offset(slot), status.value);
        }
        self.frames.sync_for_device(0..DESCRIPTORS * SLOT);
    }

    fn set_up_tx(&self) {
        let r = &self.registers;
        let index = Self::ring(TX, RING_TX_CONS_INDEX).get(r) as u16;
        self.tx_index.store(index, Ordering::Relaxed);
        let pointer = self.set_up(TX, index);
        Self::ring(TX, RING_TX_PROD_INDEX).set(r, u32::from(index));
        Self::ring(TX, RING_TX_READ_PTR).set(r, pointer);
        Self::ring(TX, RING_TX_WRITE_PTR).set(r, pointer);
        Self::ring(TX, RING_FLOW).set(r, 0);
    }

    const fn rx_offset(&self, slot: usize) -> usize {
        slot * SLOT
    }

    const fn tx_offset(&self, slot: usize) -> usize {
        (DESCRIPTORS + slot) * SLOT
    }

    /// Writes a descriptor: the buffer at `offset`, then its length and status.
    fn describe(&self, direction: usize, slot: usize, offset: usize, status: u32) {
        let bus = self.frames.bus_addr().as_u64() + offset as u64;
        let at: Reg = Reg::at(direction + slot * DESCRIPTOR_BYTES);
        at.nth(1).set(&self.registers, bus as u32);
        at.nth(2).set(&self.registers, (bus >> 32) as u32);
        at.set(&self.registers, status);
    }

    /// Asks the PHY, and has the MAC follow it. `link` is not held by the caller.
    fn poll_link(&self) -> Result<(), GenetError> {
        self.link.with(|| {
            self.polled_ns.store(self.clock.now_ns(), Ordering::Relaxed);
            let link = phy::link(&self.registers, &self.clock, self.phy_address)?;
            let r = &self.registers;
            match link {
                Some(link) => {
                    // `rgmii-rxid`: the PHY delays what we receive, and nothing is to be delayed here.
                    EXT_RGMII_OOB_CTRL.modify(
                        r,
                        OOB::OOB_DISABLE::CLEAR
                            + OOB::RGMII_LINK::SET
                            + OOB::RGMII_MODE_EN::SET
                            + OOB::ID_MODE_DIS::SET,
                    );
                    let speed = match link.speed {
                        Speed::Mbit10 => 0,
                        Speed::Mbit100 => 1,
                        Speed::Mbit1000 => 2,
                    };
                    let half = CMD::HD_EN.val(u32::from(!link.is_full_duplex));
                    UMAC_CMD.modify(r, CMD::SPEED.val(speed) + half);
                }
                None => EXT_RGMII_OOB_CTRL.modify(r, OOB::RGMII_LINK::CLEAR),
            }
            self.is_up.store(link.is_some(), Ordering::Relaxed);
            Ok(())
        })
    }

    fn poll_link_if_due(&self) {
        let since = self
            .clock
            .now_ns()
            .saturating_sub(self.polled_ns.load(Ordering::Relaxed));
        // A PHY that does not answer now is asked again later; until then the link is as it was.
        if since >= LINK_POLL_NS {
            let _ = self.poll_link();
        }
    }

    fn send(&self, frame: &[u8]) -> Result<(), TxError> {
        let r = &self.registers;
        let index = self.tx_index.load(Ordering::Relaxed);
        let sent = Self::ring(TX, RING_TX_CONS_INDEX).get(r) as u16;
        let waiting = usize::from(index.wrapping_sub(sent));
        if waiting > DESCRIPTORS {
            // It cannot have sent what it was not given.
            return Err(TxError::Device);
        }
        if waiting == DESCRIPTORS {
            return Err(TxError::Full);
        }
        let slot = slot_of(index);
        let offset = self.tx_offset(slot);
        let len = frame.len().max(FRAME_MIN);
        let copied = self.frames.write(offset, frame).and_then(|()| {
            let padding = [0; FRAME_MIN];
            let padding = padding.get(..len - frame.len()).unwrap_or_default();
            self.frames.write(offset + frame.len(), padding)
        });
        copied.map_err(|_| TxError::Device)?;
        self.frames.sync_for_device(offset..offset + len);
        let status = DESCRIPTOR::LENGTH.val(len as u32)
            + DESCRIPTOR::QTAG.val(NO_QTAG)
            + DESCRIPTOR::APPEND_CRC::SET
            + DESCRIPTOR::SOP::SET
            + DESCRIPTOR::EOP::SET;
        self.describe(TX, slot, offset, status.value);
        let next = index.wrapping_add(1);
        self.tx_index.store(next, Ordering::Relaxed);
        Self::ring(TX, RING_TX_PROD_INDEX).set(r, u32::from(next));
        Ok(())
    }

    /// The next frame's length in `frame`; `Some(Err)` for one that was thrown away.
    fn take(&self, frame: &mut [u8]) -> Option<Result<usize, ()>> {
        let r = &self.registers;
        let index = self.rx_index.load(Ordering::Relaxed);
        let made = Self::ring(RX, RING_RX_PROD_INDEX).get(r) as u16;
        if made == index {
            return None;
        }
        let slot = slot_of(index);
        let status = Reg::<DESCRIPTOR::Register>::at(RX + slot * DESCRIPTOR_BYTES).read(r);
        let offset = self.rx_offset(slot);
        let len = (status.read(DESCRIPTOR::LENGTH) as usize).checked_sub(PAD);
        let is_whole = status.is_set(DESCRIPTOR::SOP) && status.is_set(DESCRIPTOR::EOP);
        let is_damaged = status.is_set(DESCRIPTOR::RX_ERROR)
            || status.is_set(DESCRIPTOR::CRC_ERROR)
            || status.is_set(DESCRIPTOR::OVERFLOW)
            || status.is_set(DESCRIPTOR::ODD_NIBBLE)
            || status.is_set(DESCRIPTOR::TOO_LONG);
        let taken = match len {
            Some(len) if is_whole && !is_damaged && (ETHERNET..=SLOT - PAD).contains(&len) => {
                match frame.get_mut(..len) {
                    Some(out) => {
                        self.frames.sync_for_cpu(offset..offset + PAD + len);
                        let copied = self.frames.read(offset + PAD, out);
                        copied.map(|()| len).map_err(|_| &self.counters.rx_errors)
                    }
                    None => Err(&self.counters.rx_dropped),
                }
            }
            _ => Err(&self.counters.rx_errors),
        };
        // The buffer is the device's again.
        let next = index.wrapping_add(1);
        self.rx_index.store(next, Ordering::Relaxed);
        Self::ring(RX, RING_RX_CONS_INDEX).set(r, u32::from(next));
        Some(taken.map_err(|counter| NetCounters::add(counter, 1)))
    }
}

const fn slot_of(index: u16) -> usize {
    index as usize % DESCRIPTORS
}

impl<R: Registers, B: DmaBuffer, K: Clock> NetDevice for Genet<R, B, K> {
    fn mac(&self) -> MacAddr {
        self.mac
    }

    fn mtu_bytes(&self) -> usize {
        MTU
    }

    fn is_link_up(&self) -> bool {
        self.poll_link_if_due();
        self.is_up.load(Ordering::Relaxed)
    }

    fn transmit(&self, frame: &[u8]) -> Result<(), TxError> {
        if !(ETHERNET..=ETHERNET + MTU).contains(&frame.len()) {
            return Err(TxError::BadLength);
        }
        self.poll_link_if_due();
        let sent = if self.is_up.load(Ordering::Relaxed) {
            self.tx.with(|| self.send(frame))
        } else {
            Err(TxError::LinkDown)
        };
        let counters = &self.counters;
        match sent {
            Ok(()) => {
                NetCounters::add(&counters.tx_packets, 1);
                NetCounters::add(&counters.tx_bytes, frame.len());
            }
            Err(TxError::Device) => NetCounters::add(&counters.tx_errors, 1),
            Err(_) => NetCounters::add(&counters.tx_dropped, 1),
        }
        sent
    }

    fn receive(&self, frame: &mut [u8]) -> Option<usize> {
        self.rx.with(|| {
            for _ in 0..BAD_FRAMES_MAX {
                if let Ok(len) = self.take(frame)? {
                    NetCounters::add(&self.counters.rx_packets, 1);
                    NetCounters::add(&self.counters.rx_bytes, len);
                    return Some(len);
                }
            }
            None
        })
    }

    fn acknowledge_interrupt(&self) {
        let status = INTRL2_STAT.get(&self.registers);
        INTRL2_CLEAR.set(&self.registers, status);
    }

    fn stats(&self) -> NetStats {
        self.counters.stats()
    }
}
