//! Raspberry Pi 4: the bootable image.
#![no_std]
