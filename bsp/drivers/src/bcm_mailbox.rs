//! The property mailbox: asking the Raspberry Pi's VideoCore firmware for clocks, memory, temperature, identity.
//!
//! Not in Broadcom's manual. Source: the firmware's wiki, "Mailboxes", "Accessing mailboxes" and "Mailbox property
//! interface"; Linux, `drivers/mailbox/bcm2835-mailbox.c` and `include/soc/bcm2835/raspberrypi-firmware.h`.
//!
//! A request is a buffer of 32-bit words that both sides see: total size, a code, one tag with its values, an end mark. Its
//! bus address goes into one mailbox with the channel in the low four bits, and comes back in the other when the firmware
//! has written the answer into the same buffer.

use core::fmt;

use sis_hal::{
    BusAddr, Clock, DmaBuffer, MacAddr, OutOfRange, PowerError, Registers, RestartArgument, TemperatureError,
    TemperatureSensor, Timeout, wait_until,
};
use tock_registers::register_bitfields;

use crate::busy::Busy;
use crate::reg::Reg;

#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;

register_bitfields![u32,
    /// MAIL0_STATUS, MAIL1_STATUS.
    STATUS [
        FULL OFFSET(31) NUMBITS(1) [],
        EMPTY OFFSET(30) NUMBITS(1) []
    ]
];

/// Mailbox 0 carries the firmware's answers to us.
const MAIL0_READ: Reg = Reg::at(0x00);
const MAIL0_STATUS: Reg<STATUS::Register> = Reg::at(0x18);
/// Mailbox 1 carries our requests.
const MAIL1_WRITE: Reg = Reg::at(0x20);
const MAIL1_STATUS: Reg<STATUS::Register> = Reg::at(0x38);

/// The channel of property requests from the ARM cores.
const CHANNEL_PROPERTY: u32 = 8;
const CHANNEL_MASK: u32 = 0xf;

/// The buffer's second word.
const CODE_REQUEST: u32 = 0;
const CODE_SUCCESS: u32 = 0x8000_0000;

/// In the length word of a tag: this is an answer.
const TAG_ANSWERED: u32 = 0x8000_0000;

/// Red in the third byte: 0x00RRGGBB as a little-endian word.
const PIXEL_ORDER_BGR: u32 = 0;
/// What a frame buffer is aligned to.
const PAGE_BYTES: u32 = 4096;

/// Words before a tag's values: size, code, tag, value bytes, length. One more, the end mark, follows them.
const HEADER_WORDS: usize = 5;

/// How long the firmware may take for an answer. Linux waits as long; the answers measured there take under 1 ms, and up
/// to a few hundred when the firmware is busy with the SD card's voltage.
const TIMEOUT_NS: u64 = 1_000_000_000;

/// Answers to earlier requests that are thrown away before a request: the mailbox is 8 deep.
const MAX_STALE: usize = 16;

/// Tags of the property interface that the methods below do not cover can be given to [`Mailbox::property`] as numbers.
mod tag {
    pub(super) const FIRMWARE_REVISION: u32 = 0x0000_0001;
    pub(super) const BOARD_REVISION: u32 = 0x0001_0002;
    pub(super) const BOARD_MAC_ADDRESS: u32 = 0x0001_0003;
    pub(super) const BOARD_SERIAL: u32 = 0x0001_0004;
    pub(super) const ARM_MEMORY: u32 = 0x0001_0005;
    pub(super) const VIDEOCORE_MEMORY: u32 = 0x0001_0006;
    pub(super) const CLOCK_RATE: u32 = 0x0003_0002;
    pub(super) const TEMPERATURE: u32 = 0x0003_0006;
    pub(super) const THROTTLED: u32 = 0x0003_0046;
    pub(super) const SET_REBOOT_FLAGS: u32 = 0x0003_8064;
    pub(super) const SET_POWER_STATE: u32 = 0x0002_8001;
    pub(super) const SET_GPIO_STATE: u32 = 0x0003_8041;
    pub(super) const ALLOCATE_BUFFER: u32 = 0x0004_0001;
    pub(super) const GET_PITCH: u32 = 0x0004_0008;
    pub(super) const SET_PHYSICAL_SIZE: u32 = 0x0004_8003;
    pub(super) const SET_VIRTUAL_SIZE: u32 = 0x0004_8004;
    pub(super) const SET_DEPTH: u32 = 0x0004_8005;
    pub(super) const SET_PIXEL_ORDER: u32 = 0x0004_8006;
}

/// Clocks that the firmware tells the rate of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ClockId {
    /// The older SD host's.
    Emmc = 1,
    /// The PL011s'.
    Uart = 2,
    /// The ARM cores'.
    Arm = 3,
    /// The VideoCore's, and the mini-UART's.
    Core = 4,
    /// The newer SD host's.
    Emmc2 = 12,
}

/// Memory that is shown on the display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameBuffer {
    /// Where the VideoCore sees it.
    pub bus_addr: BusAddr,
    /// Bytes of it.
    pub size_bytes: u32,
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row to the next.
    pub pitch_bytes: u32,
}

/// Devices whose power the firmware switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PowerDevice {
    /// The older SD host.
    SdCard = 0,
    /// The USB-C port's controller.
    Usb = 3,
}

/// A range of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// The first address.
    pub base: u32,
    /// Bytes in the range.
    pub size_bytes: u32,
}

/// Why the firmware gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailboxError {
    /// The buffer is too small for the request, not aligned to 16 bytes, or beyond the firmware's 32 bits.
    BadBuffer,
    /// Another request has been under way for a second.
    Busy,
    /// The firmware did not take the request or did not answer.
    Timeout,
    /// The firmware refused the request, with this code.
    Refused(u32),
    /// The firmware does not know the tag.
    UnknownTag(u32),
    /// The answer is not what the tag's definition says.
    BadAnswer,
}

impl fmt::Display for MailboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadBuffer => {
                f.write_str("the mailbox buffer is too small, not aligned or out of the firmware's reach")
            }
            Self::Busy => f.write_str("another mailbox request does not end"),
            Self::Timeout => f.write_str("the firmware did not answer in time"),
            Self::Refused(code) => write!(f, "the firmware refused the request with code {code:#x}"),
            Self::UnknownTag(tag) => write!(f, "the firmware does not know the property {tag:#x}"),
            Self::BadAnswer => f.write_str("the firmware's answer has the wrong length"),
        }
    }
}

impl core::error::Error for MailboxError {}

impl From<Timeout> for MailboxError {
    fn from(_: Timeout) -> Self {
        Self::Timeout
    }
}

impl From<OutOfRange> for MailboxError {
    fn from(_: OutOfRange) -> Self {
        Self::BadBuffer
    }
}

/// The property mailbox.
///
/// One request at a time; others wait for it. Not for interrupt handlers.
pub struct Mailbox<R, B, K> {
    registers: R,
    buffer: B,
    clock: K,
    in_use: Busy,
}

impl<R: Registers, B: DmaBuffer, K: Clock> Mailbox<R, B, K> {
    /// A mailbox over its registers (0x40 bytes) and a buffer of at least 64 bytes, aligned to 16, whose bus address is
    /// the VideoCore's view of it. The buffer shares its cache lines with nothing else.
    pub fn new(registers: R, buffer: B, clock: K) -> Result<Self, MailboxError> {
        let bus_addr = buffer.bus_addr().as_u64();
        let end = bus_addr.checked_add(buffer.len() as u64);
        let is_reachable = end.is_some_and(|end| end <= 1 << 32);
        if buffer.len() < 64 || bus_addr & u64::from(CHANNEL_MASK) != 0 || !is_reachable {
            return Err(MailboxError::BadBuffer);
        }
        Ok(Self {
            registers,
            buffer,
            clock,
            in_use: Busy::new(),
        })
    }

    /// Sends one tag with the values `request` and fills `answer` with the first words of what comes back; returns how
    /// many words the firmware says its answer has, which may be more or fewer than `answer` holds. Words that it did not
    /// write are as they were sent.
    pub fn property(&self, tag: u32, request: &[u32], answer: &mut [u32]) -> Result<usize, MailboxError> {
        wait_until(&self.clock, TIMEOUT_NS, || self.in_use.try_enter()).map_err(|Timeout| MailboxError::Busy)?;
        let result = self.exchange(tag, request, answer);
        self.in_use.leave();
        result
    }

    fn exchange(&self, tag: u32, request: &[u32], answer: &mut [u32]) -> Result<usize, MailboxError> {
        let value_words = request.len().max(answer.len());
        let total_bytes = 4 * (HEADER_WORDS + value_words + 1);
        if total_bytes > self.buffer.len() {
            return Err(MailboxError::BadBuffer);
        }
        self.begin(total_bytes)?;
        self.put(HEADER_WORDS - 3, tag, request, value_words)?;
        self.call(total_bytes)?;
        self.answer(HEADER_WORDS - 3, tag, answer)
    }

    /// Writes what stands around the tags.
    fn begin(&self, total_bytes: usize) -> Result<(), MailboxError> {
        self.drain();
        self.buffer.write_u32(0, total_bytes as u32)?;
        self.buffer.write_u32(4, CODE_REQUEST)?;
        self.buffer.write_u32(total_bytes - 4, 0)?;
        Ok(())
    }

    /// Writes a tag at word `at`, with room for so many words of its answer.
    fn put(&self, at: usize, tag: u32, request: &[u32], value_words: usize) -> Result<(), MailboxError> {
        let head = [tag, 4 * value_words as u32, 4 * request.len() as u32];
        let values = (0..value_words).map(|i| request.get(i).copied().unwrap_or(0));
        for (index, word) in head.into_iter().chain(values).enumerate() {
            self.buffer.write_u32(4 * (at + index), word)?;
        }
        Ok(())
    }

    /// Has the firmware do what is in the buffer.
    fn call(&self, total_bytes: usize) -> Result<(), MailboxError> {
        self.buffer.sync_for_device(0..total_bytes);
        let message = self.buffer.bus_addr().as_u64() as u32 | CHANNEL_PROPERTY;
        wait_until(&self.clock, TIMEOUT_NS, || {
            !MAIL1_STATUS.read(&self.registers).is_set(STATUS::FULL)
        })?;
        MAIL1_WRITE.set(&self.registers, message);
        // An answer to a request that timed out earlier may still come; it names the same buffer, but then this request's
        // code word is as we wrote it.
        let mut code = CODE_REQUEST;
        wait_until(&self.clock, TIMEOUT_NS, || {
            if self.receive() == Some(message) {
                self.buffer.sync_for_cpu(0..total_bytes);
                code = self.buffer.read_u32(4).unwrap_or(CODE_REQUEST);
            }
            code != CODE_REQUEST
        })?;
        if code != CODE_SUCCESS {
            return Err(MailboxError::Refused(code));
        }
        Ok(())
    }

    /// Reads the answer to the tag at word `at`; how many words the firmware says it has.
    fn answer(&self, at: usize, tag: u32, answer: &mut [u32]) -> Result<usize, MailboxError> {
        let length = self.buffer.read_u32(4 * (at + 2))?;
        if length & TAG_ANSWERED == 0 {
            return Err(MailboxError::UnknownTag(tag));
        }
        // The firmware says how long its answer would have been, even where the buffer has less room.
        let answer_words = (length & !TAG_ANSWERED) as usize / 4;
        for (index, word) in answer.iter_mut().enumerate() {
            *word = self.buffer.read_u32(4 * (at + 3 + index))?;
        }
        Ok(answer_words)
    }

    /// Makes a frame buffer of 32-bit pixels, in the buffer's own size where the display has another.
    ///
    /// All tags go in one request: the firmware makes the buffer when it has seen the last of them (firmware's wiki,
    /// "Mailbox property interface", "Frame Buffer"). Needs 128 bytes of buffer.
    pub fn frame_buffer(&self, width: u32, height: u32) -> Result<FrameBuffer, MailboxError> {
        wait_until(&self.clock, TIMEOUT_NS, || self.in_use.try_enter()).map_err(|Timeout| MailboxError::Busy)?;
        let result = self.make_frame_buffer(width, height);
        self.in_use.leave();
        result
    }

    fn make_frame_buffer(&self, width: u32, height: u32) -> Result<FrameBuffer, MailboxError> {
        let tags: [(u32, [u32; 2], usize); 6] = [
            (tag::SET_PHYSICAL_SIZE, [width, height], 2),
            (tag::SET_VIRTUAL_SIZE, [width, height], 2),
            (tag::SET_DEPTH, [32, 0], 1),
            (tag::SET_PIXEL_ORDER, [PIXEL_ORDER_BGR, 0], 1),
            (tag::ALLOCATE_BUFFER, [PAGE_BYTES, 0], 2),
            (tag::GET_PITCH, [0, 0], 1),
        ];
        let words: usize = 2 + tags.iter().map(|t| 3 + t.2).sum::<usize>() + 1;
        if 4 * words > self.buffer.len() {
            return Err(MailboxError::BadBuffer);
        }
        self.begin(4 * words)?;
        let mut at = 2;
        for (tag, values, words) in &tags {
            self.put(at, *tag, values.get(..*words).unwrap_or_default(), *words)?;
            at += 3 + words;
        }
        self.call(4 * words)?;
        let mut answers = [[0; 2]; 6];
        let mut at = 2;
        for ((tag, _, words), answer) in tags.iter().zip(&mut answers) {
            let room = answer.get_mut(..*words).unwrap_or_default();
            if self.answer(at, *tag, room)? < *words {
                return Err(MailboxError::BadAnswer);
            }
            at += 3 + words;
        }
        let [
            _,
            [width, height],
            [depth, _],
            _,
            [bus_addr, size_bytes],
            [pitch_bytes, _],
        ] = answers;
        let fits = u64::from(pitch_bytes) * u64::from(height) <= u64::from(size_bytes)
            && u64::from(width) * 4 <= u64::from(pitch_bytes);
        if depth != 32 || width == 0 || height == 0 || bus_addr == 0 || !fits {
            return Err(MailboxError::BadAnswer);
        }
        Ok(FrameBuffer {
            bus_addr: BusAddr(u64::from(bus_addr)),
            size_bytes,
            width,
            height,
            pitch_bytes,
        })
    }

    /// Takes one message out of the firmware's mailbox.
    fn receive(&self) -> Option<u32> {
        let is_empty = MAIL0_STATUS.read(&self.registers).is_set(STATUS::EMPTY);
        (!is_empty).then(|| MAIL0_READ.get(&self.registers))
    }

    fn drain(&self) {
        for _ in 0..MAX_STALE {
            if self.receive().is_none() {
                return;
            }
        }
    }

    /// Asks for a property of exactly `N` words.
    fn get<const N: usize>(&self, tag: u32, request: &[u32]) -> Result<[u32; N], MailboxError> {
        let mut answer = [0; N];
        let words = self.property(tag, request, &mut answer)?;
        if words < N {
            Err(MailboxError::BadAnswer)
        } else {
            Ok(answer)
        }
    }

    /// The firmware's version: a date in seconds since 1970.
    pub fn firmware_revision(&self) -> Result<u32, MailboxError> {
        self.get(tag::FIRMWARE_REVISION, &[]).map(|[revision]| revision)
    }

    /// The board's revision code (Raspberry Pi documentation, "Raspberry Pi revision codes").
    pub fn board_revision(&self) -> Result<u32, MailboxError> {
        self.get(tag::BOARD_REVISION, &[]).map(|[revision]| revision)
    }

    /// The board's serial number.
    pub fn board_serial(&self) -> Result<u64, MailboxError> {
        self.get(tag::BOARD_SERIAL, &[])
            .map(|[low, high]| u64::from(high) << 32 | u64::from(low))
    }

    /// The address of the board's Ethernet interface.
    pub fn mac_address(&self) -> Result<MacAddr, MailboxError> {
        let mut answer = [0; 2];
        // Six bytes, which is one word and a half.
        if self.property(tag::BOARD_MAC_ADDRESS, &[], &mut answer)? < 1 {
            return Err(MailboxError::BadAnswer);
        }
        let [low, high] = answer.map(u32::to_le_bytes);
        let ([a, b, c, d], [e, f, _, _]) = (low, high);
        Ok(MacAddr([a, b, c, d, e, f]))
    }

    /// The ARM cores' share of the first gigabyte of memory.
    pub fn arm_memory(&self) -> Result<MemoryRange, MailboxError> {
        self.get(tag::ARM_MEMORY, &[])
            .map(|[base, size_bytes]| MemoryRange { base, size_bytes })
    }

    /// The VideoCore's share.
    pub fn videocore_memory(&self) -> Result<MemoryRange, MailboxError> {
        self.get(tag::VIDEOCORE_MEMORY, &[])
            .map(|[base, size_bytes]| MemoryRange { base, size_bytes })
    }

    /// A clock's rate in Hz; 0 when the firmware has no such clock.
    pub fn clock_rate_hz(&self, clock: ClockId) -> Result<u32, MailboxError> {
        self.get(tag::CLOCK_RATE, &[clock as u32]).map(|[_, rate_hz]| rate_hz)
    }

    /// Why the firmware slows the cores down, as a set of bits (Raspberry Pi documentation, `vcgencmd get_throttled`).
    pub fn throttled(&self) -> Result<u32, MailboxError> {
        self.get(tag::THROTTLED, &[0]).map(|[bits]| bits)
    }

    /// Gives a device power, and waits until it is stable; whether it has power then (not when the firmware does not know
    /// the device).
    pub fn power_on(&self, device: PowerDevice) -> Result<bool, MailboxError> {
        // Bit 0: on; bit 1 of the request: wait, of the answer: no such device.
        let mut answer = [device as u32, 0];
        self.property(tag::SET_POWER_STATE, &[device as u32, 3], &mut answer)?;
        Ok(answer[1] & 3 == 1)
    }

    /// Sets a pin of the firmware's GPIO expander (128 + its number; 132 is the SD card's voltage).
    pub fn set_expander_gpio(&self, pin: u32, is_high: bool) -> Result<(), MailboxError> {
        // The firmware replaces the pin by a status: 0 = done. Where it does not know the pin, it stays.
        let mut answer = [pin, 0];
        self.property(tag::SET_GPIO_STATE, &[pin, u32::from(is_high)], &mut answer)?;
        match answer {
            [0, _] => Ok(()),
            [status, _] => Err(MailboxError::Refused(status)),
        }
    }
}

/// In the flags of the next restart: the bootloader tries the other boot partition (Raspberry Pi documentation, "autoboot.txt").
const REBOOT_FLAG_TRYBOOT: u32 = 1;

/// `tryboot`, among other words, is what the firmware's Linux driver looks for (drivers/firmware/raspberrypi.c of the Pi's kernel).
impl<R: Registers, B: DmaBuffer, K: Clock> RestartArgument for Mailbox<R, B, K> {
    fn set_restart_argument(&self, argument: &str) -> Result<(), PowerError> {
        if argument.split_ascii_whitespace().all(|word| word != "tryboot") {
            return Err(PowerError::NotSupported);
        }
        self.property(tag::SET_REBOOT_FLAGS, &[REBOOT_FLAG_TRYBOOT], &mut [0])
            .map(drop)
            .map_err(|_| PowerError::NotSupported)
    }
}

impl<R: Registers, B: DmaBuffer, K: Clock> TemperatureSensor for Mailbox<R, B, K> {
    fn read_millicelsius(&self) -> Result<i32, TemperatureError> {
        match self.get(tag::TEMPERATURE, &[0]) {
            Ok([_, millicelsius]) => Ok(millicelsius as i32),
            Err(_) => Err(TemperatureError::Device),
        }
    }
}
