//! Serial consoles.

use crate::clock::Timeout;

/// A serial port that carries the console.
///
/// Every method is lock-free, because a panicking CPU uses the port while another one may be in the middle of a write:
/// bytes of two writers may interleave, nothing else goes wrong. Whoever wants whole lines takes a lock above.
pub trait ConsoleDevice: Send + Sync {
    /// A short name for the log, such as `PL011`.
    fn name(&self) -> &'static str;

    /// Sends one byte, waiting for room for a bounded time. On a time-out the byte is lost; the next calls do not wait
    /// at all until the device has taken a byte again, so that a dead port does not hold up a crash report.
    fn write_byte_blocking(&self, byte: u8) -> Result<(), Timeout>;

    /// Takes one received byte, or `None` when there is none.
    fn try_read(&self) -> Option<u8>;

    /// Asks for an interrupt whenever received bytes wait (also a single one, after a short silence on the line).
    fn enable_rx_interrupt(&self);

    /// Silences the device's interrupt. Read until [`try_read`](Self::try_read) is `None` *after* this call, so that a
    /// byte that arrives in between raises a new one.
    fn acknowledge_interrupt(&self);

    /// Waits, for a bounded time, until everything written is on the wire: before the clock changes, a reset or a
    /// power-off.
    fn flush(&self) -> Result<(), Timeout>;

    /// Sends all of `bytes` as they are; returns how many were sent before the device stopped taking them.
    fn write_bytes(&self, bytes: &[u8]) -> usize {
        bytes
            .iter()
            .take_while(|byte| self.write_byte_blocking(**byte).is_ok())
            .count()
    }
}
