//! The partition table: a GPT, which both the Pi 4's firmware and Linux read, behind a protective MBR.

use super::CardError;
use super::blocks::Blocks;
use super::layout::{Layout, Role};
use gpt::disk::LogicalBlockSize;
use gpt::partition_types::{BASIC, LINUX_FS};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;

use super::window::Window;

/// Bytes of the sectors that the table counts in.
const SECTOR_BYTES: u64 = 512;

/// Writes both copies of the table of `layout` into the image.
///
/// The boot partitions are of the type "basic data", which is what the Pi's bootloader takes for a FAT of its own.
pub(super) fn write(file: &File, layout: &Layout, mapped: &RefCell<Blocks>) -> Result<(), CardError> {
    let failed = |error: &dyn std::fmt::Display| CardError::Table(error.to_string());
    let mut window = Window::new(file, 0, layout.bytes).noting(mapped);
    let sectors = u32::try_from(layout.bytes / SECTOR_BYTES - 1).unwrap_or(u32::MAX);
    gpt::mbr::ProtectiveMBR::with_lb_size(sectors)
        .overwrite_lba0(&mut window)
        .map_err(|error| failed(&error))?;
    let mut disk = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(window, Some(layout.disk_uuid))
        .map_err(|error| failed(&error))?;
    let mut partitions = BTreeMap::new();
    for place in &layout.places {
        let entry = gpt::partition::Partition {
            part_type_guid: match place.role {
                Role::Select | Role::BootA | Role::BootB => BASIC,
                Role::SlotA | Role::SlotB | Role::Data => LINUX_FS,
            },
            part_guid: place.part_uuid,
            first_lba: place.offset / SECTOR_BYTES,
            last_lba: (place.offset + place.bytes) / SECTOR_BYTES - 1,
            flags: 0,
            name: place.role.name().into(),
        };
        partitions.insert(place.role as u32, entry);
    }
    disk.update_partitions(partitions).map_err(|error| failed(&error))?;
    disk.write().map_err(|error| failed(&error))?;
    Ok(())
}
