//! The DesignWare USB 2.0 host controller (DWC2) of the BCM2711's USB-C port, with its own DMA.
//!
//! Broadcom's manual does not have it. Sources: the register descriptions in Synopsys-based manuals (Altera *Cyclone V
//! Hard Processor System*, chapter "USB 2.0 OTG Controller"; Infineon *XMC4500 Reference Manual*, chapter 16); Linux,
//! `drivers/usb/dwc2` for the BCM2835's sizes of the FIFOs. QEMU's model has the same registers.
//!
//! Channel 0 does control transfers, at which the caller waits; channels 1 and 2 carry Ethernet frames for [`UsbNet`]. The
//! controller repeats bulk transactions that the device answers with NAK by itself.

use sis_hal::{Clock, DmaBuffer, Registers, delay_ns, wait_until};
use tock_registers::fields::FieldValue;
use tock_registers::register_bitfields;

use crate::reg::Reg;
use crate::usb::{Device, Setup, Speed, UsbError, UsbHost};

mod net;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;

pub use net::{NET_BUFFER_BYTES, UsbNet};

register_bitfields![u32,
    GAHBCFG [
        DMA OFFSET(5) NUMBITS(1) [],
        /// BCM2835: wait until the AXI bus has taken all writes.
        AXI_WAIT OFFSET(4) NUMBITS(1) [],
        INTERRUPTS OFFSET(0) NUMBITS(1) []
    ],
    GUSBCFG [
        FORCE_HOST OFFSET(29) NUMBITS(1) []
    ],
    GRSTCTL [
        AHB_IDLE OFFSET(31) NUMBITS(1) [],
        TX_FIFO OFFSET(6) NUMBITS(5) [ All = 0x10 ],
        TX_FLUSH OFFSET(5) NUMBITS(1) [],
        RX_FLUSH OFFSET(4) NUMBITS(1) [],
        CORE_RESET OFFSET(0) NUMBITS(1) []
    ],
    GINTSTS [
        CHANNEL OFFSET(25) NUMBITS(1) [],
        HOST_MODE OFFSET(0) NUMBITS(1) []
    ],
    GHWCFG2 [
        CHANNELS OFFSET(14) NUMBITS(4) [],
        ARCHITECTURE OFFSET(3) NUMBITS(2) [ InternalDma = 2 ]
    ],
    HPRT0 [
        SPEED OFFSET(17) NUMBITS(2) [ High = 0, Full = 1, Low = 2 ],
        POWER OFFSET(12) NUMBITS(1) [],
        RESET OFFSET(8) NUMBITS(1) [],
        OVERCURRENT_CHANGE OFFSET(5) NUMBITS(1) [],
        ENABLE_CHANGE OFFSET(3) NUMBITS(1) [],
        ENABLED OFFSET(2) NUMBITS(1) [],
        CONNECT_CHANGE OFFSET(1) NUMBITS(1) [],
        CONNECTED OFFSET(0) NUMBITS(1) []
    ],
    HCCHAR [
        ENABLE OFFSET(31) NUMBITS(1) [],
        DISABLE OFFSET(30) NUMBITS(1) [],
        ADDRESS OFFSET(22) NUMBITS(7) [],
        PER_FRAME OFFSET(20) NUMBITS(2) [],
        KIND OFFSET(18) NUMBITS(2) [ Control = 0, Bulk = 2 ],
        LOW_SPEED OFFSET(17) NUMBITS(1) [],
        IN OFFSET(15) NUMBITS(1) [],
        ENDPOINT OFFSET(11) NUMBITS(4) [],
        PACKET_BYTES OFFSET(0) NUMBITS(11) []
    ],
    HCINT [
        ALL OFFSET(0) NUMBITS(14) [],
        TOGGLE_ERROR OFFSET(10) NUMBITS(1) [],
        FRAME_OVERRUN OFFSET(9) NUMBITS(1) [],
        BABBLE OFFSET(8) NUMBITS(1) [],
        TRANSACTION_ERROR OFFSET(7) NUMBITS(1) [],
        NAK OFFSET(4) NUMBITS(1) [],
        STALL OFFSET(3) NUMBITS(1) [],
        BUS_ERROR OFFSET(2) NUMBITS(1) [],
        HALTED OFFSET(1) NUMBITS(1) [],
        COMPLETE OFFSET(0) NUMBITS(1) []
    ],
    HCTSIZ [
        PID OFFSET(29) NUMBITS(2) [ Data0 = 0, Data1 = 2, Setup = 3 ],
        PACKETS OFFSET(19) NUMBITS(10) [],
        BYTES OFFSET(0) NUMBITS(19) []
    ]
];

const GAHB_CFG: Reg<GAHBCFG::Register> = Reg::at(0x008);
const GUSB_CFG: Reg<GUSBCFG::Register> = Reg::at(0x00c);
const GRST_CTL: Reg<GRSTCTL::Register> = Reg::at(0x010);
const GINT_STS: Reg<GINTSTS::Register> = Reg::at(0x014);
const GINT_MSK: Reg<GINTSTS::Register> = Reg::at(0x018);
const GRX_FSIZ: Reg = Reg::at(0x024);
const GNPTX_FSIZ: Reg = Reg::at(0x028);
/// The core's identification: "OT" and its release.
const GSNPS_ID: Reg = Reg::at(0x040);
const GHW_CFG2: Reg<GHWCFG2::Register> = Reg::at(0x048);
const HPTX_FSIZ: Reg = Reg::at(0x100);
const HCFG: Reg = Reg::at(0x400);
const HAINT_MSK: Reg = Reg::at(0x418);
const HPRT_0: Reg<HPRT0::Register> = Reg::at(0x440);
/// Registers of channel 0; the next channel's are [`CHANNEL_STRIDE`] further.
const HC_CHAR: Reg<HCCHAR::Register> = Reg::at(0x500);
const HC_SPLT: Reg = Reg::at(0x504);
const HC_INT: Reg<HCINT::Register> = Reg::at(0x508);
const HC_INT_MSK: Reg<HCINT::Register> = Reg::at(0x50c);
const HC_TSIZ: Reg<HCTSIZ::Register> = Reg::at(0x510);
const HC_DMA: Reg = Reg::at(0x514);
const CHANNEL_STRIDE: usize = 0x20;
/// Power and clock gating.
const PCG_CTL: Reg = Reg::at(0xe00);

/// Upper half of [`GSNPS_ID`].
const ID_OT: u32 = 0x4f54;

/// Words of the FIFOs, as Linux sets them on the BCM2835: receive, non-periodic transmit, periodic transmit.
const RX_FIFO_WORDS: u32 = 774;
const TX_FIFO_WORDS: u32 = 256;
const PERIODIC_FIFO_WORDS: u32 = 512;

const MS: u64 = 1_000_000;
/// For a reset or flush of the core.
const CORE_TIMEOUT_NS: u64 = 100 * MS;
/// A forced mode takes up to 25 ms (Cyclone V, GUSBCFG).
const MODE_TIMEOUT_NS: u64 = 50 * MS;
/// How long a device may take to be seen after the port got power (USB 2.0, 7.1.7.3: 100 ms).
const CONNECT_NS: u64 = 100 * MS;
/// Where the port had power before, a device has been seen already.
const CONNECTED_NS: u64 = 2 * MS;
/// A root port's reset (USB 2.0, 7.1.7.5, TDRSTR: 50 ms).
const RESET_NS: u64 = 55 * MS;
const ENABLE_TIMEOUT_NS: u64 = 100 * MS;
/// After a reset (USB 2.0, TRSTRCY: 10 ms).
const RECOVERY_NS: u64 = 12 * MS;
/// A stage of a control transfer; the whole may take 5 s with data (USB 2.0, 9.2.6.4), here less.
const STAGE_TIMEOUT_NS: u64 = 1_000 * MS;
const HALT_TIMEOUT_NS: u64 = 10 * MS;
/// Tries of a control transfer that failed on the bus.
const TRIES: usize = 3;

/// Where a control transfer's eight bytes and its data are in the buffer.
const SETUP_AT: usize = 0;
const DATA_AT: usize = 64;
/// Bytes of the buffer for control transfers.
pub const CONTROL_BUFFER_BYTES: usize = DATA_AT + crate::usb::CONTROL_BYTES_MAX;

const CONTROL_CHANNEL: usize = 0;

/// A transfer of one channel.
#[derive(Clone, Copy)]
struct Transfer {
    address: u8,
    is_low_speed: bool,
    endpoint: u8,
    is_in: bool,
    is_bulk: bool,
    packet_bytes: u16,
    /// `HCTSIZ::PID`.
    pid: u32,
    bus_addr: u32,
    len: u32,
}

/// How a transfer ended.
#[derive(Clone, Copy)]
struct Ended {
    result: Result<(), UsbError>,
    /// Bytes that were not transferred.
    left: u32,
    /// The next transfer's `HCTSIZ::PID`.
    pid: u32,
}

/// A controller that is a host.
pub struct Dwc2<R, B, K> {
    registers: R,
    /// Memory for control transfers.
    control: B,
    clock: K,
}

impl<R: Registers, B: DmaBuffer, K: Clock> Dwc2<R, B, K> {
    /// Resets the controller and makes it a host. `control` has at least [`CONTROL_BUFFER_BYTES`], 4-byte aligned, below
    /// 4 GiB for the controller. With `forces_host` the role that the cable asks for is overridden.
    ///
    /// Waits 250 ms at most.
    ///
    /// # Errors
    /// [`UsbError::NoController`], [`UsbError::DeviceMode`], [`UsbError::BadBuffer`], [`UsbError::Timeout`].
    pub fn new(registers: R, control: B, clock: K, forces_host: bool) -> Result<Self, UsbError> {
        if GSNPS_ID.get(&registers) >> 16 != ID_OT {
            return Err(UsbError::NoController);
        }
        bus_addr(&control, CONTROL_BUFFER_BYTES)?;
        let host = Self {
            registers,
            control,
            clock,
        };
        host.start(forces_host)?;
        Ok(host)
    }

    fn wait(&self, timeout_ns: u64, condition: impl FnMut() -> bool) -> Result<(), UsbError> {
        wait_until(&self.clock, timeout_ns, condition).map_err(|_| UsbError::Timeout)
    }

    fn start(&self, forces_host: bool) -> Result<(), UsbError> {
        let r = &self.registers;
        let hardware = GHW_CFG2.read(r);
        if !hardware.matches_all(GHWCFG2::ARCHITECTURE::InternalDma)
            || hardware.read(GHWCFG2::CHANNELS) < net::LAST_CHANNEL as u32
        {
            return Err(UsbError::NoController);
        }
        PCG_CTL.set(r, 0);
        GAHB_CFG.set(r, 0);
        self.wait(CORE_TIMEOUT_NS, || GRST_CTL.read(r).is_set(GRSTCTL::AHB_IDLE))?;
        GRST_CTL.write(r, GRSTCTL::CORE_RESET::SET);
        self.wait(CORE_TIMEOUT_NS, || !GRST_CTL.read(r).is_set(GRSTCTL::CORE_RESET))?;
        if forces_host {
            GUSB_CFG.modify(r, GUSBCFG::FORCE_HOST::SET);
        }
        let timeout_ns = if forces_host { MODE_TIMEOUT_NS } else { 0 };
        self.wait(timeout_ns, || GINT_STS.read(r).is_set(GINTSTS::HOST_MODE))
            .map_err(|_| UsbError::DeviceMode)?;
        GINT_MSK.set(r, 0);
        GAHB_CFG.write(r, GAHBCFG::DMA::SET + GAHBCFG::AXI_WAIT::SET);
        HCFG.set(r, 0);
        GRX_FSIZ.set(r, RX_FIFO_WORDS);
        GNPTX_FSIZ.set(r, TX_FIFO_WORDS << 16 | RX_FIFO_WORDS);
        HPTX_FSIZ.set(r, PERIODIC_FIFO_WORDS << 16 | (RX_FIFO_WORDS + TX_FIFO_WORDS));
        GRST_CTL.write(r, GRSTCTL::TX_FIFO::All + GRSTCTL::TX_FLUSH::SET);
        self.wait(CORE_TIMEOUT_NS, || !GRST_CTL.read(r).is_set(GRSTCTL::TX_FLUSH))?;
        GRST_CTL.write(r, GRSTCTL::RX_FLUSH::SET);
        self.wait(CORE_TIMEOUT_NS, || !GRST_CTL.read(r).is_set(GRSTCTL::RX_FLUSH))?;
        HAINT_MSK.set(r, 0);
        Ok(())
    }

    /// Changes fields of the port's register, without the side effects of writing its other bits back: those of the changes
    /// would be cleared, and the port be disabled.
    fn change_port(&self, fields: FieldValue<u32, HPRT0::Register>) {
        let quiet = HPRT0::OVERCURRENT_CHANGE::CLEAR
            + HPRT0::ENABLE_CHANGE::CLEAR
            + HPRT0::ENABLED::CLEAR
            + HPRT0::CONNECT_CHANGE::CLEAR;
        let port = quiet.modify(HPRT_0.get(&self.registers));
        HPRT_0.set(&self.registers, fields.modify(port));
    }

    /// Gives the root port power and resets what is plugged in there; how fast that speaks.
    ///
    /// Waits 270 ms at most.
    ///
    /// # Errors
    /// [`UsbError::NoDevice`], [`UsbError::Timeout`].
    pub fn reset_port(&self) -> Result<Speed, UsbError> {
        let r = &self.registers;
        let had_power = HPRT_0.read(r).is_set(HPRT0::POWER);
        self.change_port(HPRT0::POWER::SET);
        let connect_ns = if had_power { CONNECTED_NS } else { CONNECT_NS };
        self.wait(connect_ns, || HPRT_0.read(r).is_set(HPRT0::CONNECTED))
            .map_err(|_| UsbError::NoDevice)?;
        self.change_port(HPRT0::RESET::SET);
        delay_ns(&self.clock, RESET_NS);
        self.change_port(HPRT0::RESET::CLEAR);
        self.wait(ENABLE_TIMEOUT_NS, || HPRT_0.read(r).is_set(HPRT0::ENABLED))?;
        delay_ns(&self.clock, RECOVERY_NS);
        // The changes are ours; they are not to be taken for news.
        self.change_port(HPRT0::CONNECT_CHANGE::SET + HPRT0::ENABLE_CHANGE::SET);
        match HPRT_0.read(r).read_as_enum(HPRT0::SPEED) {
            Some(HPRT0::SPEED::Value::High) => Ok(Speed::High),
            Some(HPRT0::SPEED::Value::Full) => Ok(Speed::Full),
            Some(HPRT0::SPEED::Value::Low) => Ok(Speed::Low),
            None => Err(UsbError::Transaction),
        }
    }

    fn begin(&self, channel: usize, transfer: &Transfer) {
        begin(&self.registers, channel, transfer);
    }

    /// Stops a channel whose transfer does not end.
    fn halt(&self, channel: usize) {
        let r = &self.registers;
        let base = channel * CHANNEL_STRIDE;
        if HC_CHAR.in_frame(base).read(r).is_set(HCCHAR::ENABLE) {
            HC_CHAR
                .in_frame(base)
                .modify(r, HCCHAR::DISABLE::SET + HCCHAR::ENABLE::SET);
            // A channel that does not even halt is started anew by the next transfer, which then fails.
            let _ = self.wait(HALT_TIMEOUT_NS, || HC_INT.in_frame(base).read(r).is_set(HCINT::HALTED));
        }
    }

    fn stage(&self, transfer: &Transfer) -> Result<Ended, UsbError> {
        self.begin(CONTROL_CHANNEL, transfer);
        let mut ended = None;
        let waited = self.wait(STAGE_TIMEOUT_NS, || {
            ended = end(&self.registers, CONTROL_CHANNEL);
            ended.is_some()
        });
        match ended {
            Some(ended) => ended.result.map(|()| ended),
            None => {
                self.halt(CONTROL_CHANNEL);
                Err(waited.err().unwrap_or(UsbError::Timeout))
            }
        }
    }

    fn try_control(&self, device: &Device, setup: Setup, data: &mut [u8]) -> Result<usize, UsbError> {
        let bus = bus_addr(&self.control, CONTROL_BUFFER_BYTES)?;
        let bad = |_| UsbError::BadBuffer;
        self.control.write(SETUP_AT, &setup.to_bytes()).map_err(bad)?;
        self.control.sync_for_device(SETUP_AT..SETUP_AT + 8);
        let first = Transfer {
            address: device.address,
            is_low_speed: device.speed == Speed::Low,
            endpoint: 0,
            is_in: false,
            is_bulk: false,
            packet_bytes: device.control_packet_bytes,
            pid: HCTSIZ::PID::Setup.value >> 29,
            bus_addr: bus + SETUP_AT as u32,
            len: 8,
        };
        self.stage(&first)?;
        let data1 = HCTSIZ::PID::Data1.value >> 29;
        let mut got = 0;
        if setup.length > 0 {
            // The controller writes whole packets.
            let room = usize::from(setup.length).next_multiple_of(usize::from(device.control_packet_bytes));
            if room > self.control.len() - DATA_AT || !setup.is_read() {
                return Err(UsbError::BadBuffer);
            }
            self.control.sync_for_device(DATA_AT..DATA_AT + room);
            let ended = self.stage(&Transfer {
                is_in: true,
                pid: data1,
                bus_addr: bus + DATA_AT as u32,
                len: room as u32,
                ..first
            })?;
            got = room
                .saturating_sub(ended.left as usize)
                .min(usize::from(setup.length))
                .min(data.len());
            self.control.sync_for_cpu(DATA_AT..DATA_AT + room);
            let out = data.get_mut(..got).unwrap_or_default();
            self.control.read(DATA_AT, out).map_err(bad)?;
        }
        self.stage(&Transfer {
            is_in: setup.length == 0 || !setup.is_read(),
            pid: data1,
            bus_addr: bus + DATA_AT as u32,
            len: 0,
            ..first
        })?;
        Ok(got)
    }
}

impl<R: Registers, B: DmaBuffer, K: Clock> UsbHost for Dwc2<R, B, K> {
    fn control(&self, device: &Device, setup: Setup, data: &mut [u8]) -> Result<usize, UsbError> {
        let mut last = UsbError::Timeout;
        for _ in 0..TRIES {
            match self.try_control(device, setup, data) {
                Err(UsbError::Transaction) => last = UsbError::Transaction,
                other => return other,
            }
        }
        Err(last)
    }

    fn delay_ns(&self, ns: u64) {
        delay_ns(&self.clock, ns);
    }
}

/// Where the controller sees the buffer, which has at least so many bytes.
fn bus_addr(buffer: &impl DmaBuffer, len: usize) -> Result<u32, UsbError> {
    let at = buffer.bus_addr().0;
    let end = at.checked_add(buffer.len() as u64).ok_or(UsbError::BadBuffer)?;
    if buffer.len() < len || !at.is_multiple_of(4) || end > 1 << 32 {
        return Err(UsbError::BadBuffer);
    }
    u32::try_from(at).map_err(|_| UsbError::BadBuffer)
}

/// Starts a transfer on a channel that is free.
fn begin(registers: &impl Registers, channel: usize, transfer: &Transfer) {
    let base = channel * CHANNEL_STRIDE;
    let packets = transfer.len.div_ceil(u32::from(transfer.packet_bytes)).max(1);
    HC_INT.in_frame(base).set(registers, HCINT::ALL::SET.value);
    HC_INT_MSK.in_frame(base).write(registers, HCINT::HALTED::SET);
    HC_SPLT.in_frame(base).set(registers, 0);
    HC_TSIZ.in_frame(base).write(
        registers,
        HCTSIZ::PID.val(transfer.pid) + HCTSIZ::PACKETS.val(packets) + HCTSIZ::BYTES.val(transfer.len),
    );
    HC_DMA.in_frame(base).set(registers, transfer.bus_addr);
    let kind = if transfer.is_bulk {
        HCCHAR::KIND::Bulk
    } else {
        HCCHAR::KIND::Control
    };
    HC_CHAR.in_frame(base).write(
        registers,
        HCCHAR::ADDRESS.val(u32::from(transfer.address))
            + HCCHAR::PER_FRAME.val(1)
            + kind
            + HCCHAR::LOW_SPEED.val(u32::from(transfer.is_low_speed))
            + HCCHAR::IN.val(u32::from(transfer.is_in))
            + HCCHAR::ENDPOINT.val(u32::from(transfer.endpoint))
            + HCCHAR::PACKET_BYTES.val(u32::from(transfer.packet_bytes))
            + HCCHAR::ENABLE::SET,
    );
}

/// How the channel's transfer ended; `None` while it is under way.
fn end(registers: &impl Registers, channel: usize) -> Option<Ended> {
    let base = channel * CHANNEL_STRIDE;
    let why = HC_INT.in_frame(base).read(registers);
    if !why.is_set(HCINT::HALTED) {
        return None;
    }
    let size = HC_TSIZ.in_frame(base).read(registers);
    HC_INT.in_frame(base).set(registers, HCINT::ALL::SET.value);
    let result = if why.is_set(HCINT::COMPLETE) {
        Ok(())
    } else if why.is_set(HCINT::STALL) {
        Err(UsbError::Stall)
    } else {
        Err(UsbError::Transaction)
    };
    Some(Ended {
        result,
        left: size.read(HCTSIZ::BYTES),
        pid: size.read(HCTSIZ::PID),
    })
}
