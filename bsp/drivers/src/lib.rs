//! Device drivers: no addresses, no unsafe, hardware only through `sis-hal`.
//!
//! A driver is generic over [`Registers`](sis_hal::Registers) (and over a clock, a DMA buffer or an instruction of the
//! machine where it needs one). Its base address, clock rate and interrupt come from a board, by way of `bsp/soc-*` and
//! the device tree. Rules that all of them keep:
//!
//! * every wait is bounded, and what happens when the device never becomes ready is part of the method's documentation;
//! * a device is probed before it is changed where it has something to be recognised by: an absent one (a bus of all
//!   ones or zeros) is an error, not a hang;
//! * nothing a device says is trusted as an index or a length;
//! * no allocation, and no lock but around a few register accesses; a method that must not run twice at once says so.
//!
//! Each driver has a simulated device beside it (module `sim`, for tests and with the feature `sim`), which checks the
//! order of accesses as the manual gives it, and which can be told to fail.
#![no_std]
#![forbid(unsafe_code)]
// The simulated devices panic on a driver's mistakes, as they should; the drivers are checked without them.
#![cfg_attr(not(any(test, feature = "sim")), warn(clippy::unwrap_used, clippy::indexing_slicing))]

extern crate alloc;
#[cfg(any(test, feature = "sim"))]
extern crate std;

pub mod bcm_aux_uart;
pub mod bcm_gpio;
pub mod bcm_mailbox;
pub mod bcm_power;
pub mod bcm_thermal;
mod busy;
pub mod dwc2;
pub mod framebuffer;
pub mod genet;
pub mod gicv2;
pub mod gicv3;
pub mod pl011;
pub mod pl031;
pub mod psci;
mod reg;
pub mod rng200;
pub mod sdhci;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod spin_table;
mod transmit;
pub mod usb;
pub mod virtio_mmio;
