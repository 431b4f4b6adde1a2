//! Where what is on a card.

use super::CardError;
use sha2::{Digest, Sha256};
use uuid::Uuid;

const MIB: u64 = 1 << 20;

/// Partitions begin at multiples of this many bytes: an erase block of most cards.
pub const ALIGN_BYTES: u64 = MIB;
/// Bytes of the partition that says which system starts. FAT32, as small as that can be.
pub const SELECT_BYTES: u64 = 36 * MIB;
/// Bytes of a boot partition. FAT32 has at least 65,525 clusters (Microsoft's FAT specification, 1.03, section
/// "FAT Type Determination"), so with clusters of 512 bytes it cannot be less than half of this.
pub const BOOT_BYTES: u64 = 64 * MIB;
/// Bytes of a slot: one root.
pub const SLOT_BYTES: u64 = 256 * MIB;
/// The least that the data partition may have, in bytes.
pub const DATA_BYTES_MIN: u64 = 64 * MIB;
/// The least that a card may have, in bytes: the tables at both ends, and the partitions.
pub const CARD_BYTES_MIN: u64 = 2 * ALIGN_BYTES + SELECT_BYTES + 2 * BOOT_BYTES + 2 * SLOT_BYTES + DATA_BYTES_MIN;
/// Bytes of a card unless told: a power of two, as QEMU's cards must be.
pub const CARD_BYTES: u64 = 1024 * MIB;

/// What a partition is for. The numbers are the partitions' own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What the loader reads first: which system starts.
    Select = 1,
    /// What the loader reads then: the kernel, the device tree, settings.
    BootA = 2,
    /// The same of the second system.
    BootB = 3,
    /// The first system's root.
    SlotA = 4,
    /// The second system's root.
    SlotB = 5,
    /// What outlives systems.
    Data = 6,
}

impl Role {
    /// All, by number.
    pub const ALL: [Self; 6] = [
        Self::Select,
        Self::BootA,
        Self::BootB,
        Self::SlotA,
        Self::SlotB,
        Self::Data,
    ];

    /// The partition's name in the table, and its file system's label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::BootA => "boot-a",
            Self::BootB => "boot-b",
            Self::SlotA => "slot-a",
            Self::SlotB => "slot-b",
            Self::Data => "data",
        }
    }

    /// Its file system, as Linux names it.
    #[must_use]
    pub const fn filesystem(self) -> &'static str {
        match self {
            Self::Select | Self::BootA | Self::BootB => "vfat",
            Self::SlotA | Self::SlotB | Self::Data => "ext4",
        }
    }
}

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What it is for.
    pub role: Role,
    /// Its first byte.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its own identification, PARTUUID.
    pub part_uuid: Uuid,
    /// Its file system's identification; FAT has the first four bytes of it.
    pub fs_uuid: Uuid,
}

/// A card's partitions. All identifications come from the board's name, so that two builds have the same and boards
/// have different ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of the card.
    pub bytes: u64,
    /// The disk's identification.
    pub disk_uuid: Uuid,
    /// In the order of their numbers, from 1.
    pub places: [Place; 6],
}

impl Layout {
    /// The layout of a card of `bytes` for `board`; the data partition takes what the others leave.
    ///
    /// # Errors
    /// [`CardError::Size`] for less than [`CARD_BYTES_MIN`] and for what is no multiple of [`ALIGN_BYTES`].
    pub fn new(board: &str, bytes: u64) -> Result<Self, CardError> {
        if bytes < CARD_BYTES_MIN || !bytes.is_multiple_of(ALIGN_BYTES) {
            return Err(CardError::Size(bytes));
        }
        let mut offset = ALIGN_BYTES;
        let places = Role::ALL.map(|role| {
            let bytes = match role {
                Role::Select => SELECT_BYTES,
                Role::BootA | Role::BootB => BOOT_BYTES,
                Role::SlotA | Role::SlotB => SLOT_BYTES,
                // The last unit has the second copy of the table.
                Role::Data => bytes - ALIGN_BYTES - offset,
            };
            let place = Place {
                role,
                offset,
                bytes,
                part_uuid: identification(board, role.name(), "partition"),
                fs_uuid: identification(board, role.name(), "file system"),
            };
            offset += bytes;
            place
        });
        Ok(Self {
            bytes,
            disk_uuid: identification(board, "card", "disk"),
            places,
        })
    }

    /// Where the partition with this role is.
    #[must_use]
    pub const fn place(&self, role: Role) -> &Place {
        &self.places[role as usize - 1]
    }

    /// The words of the kernel's command line that make `role` the root.
    #[must_use]
    pub fn root_words(&self, role: Role) -> String {
        let slot = self.place(role);
        format!("root=PARTUUID={} rootfstype=ext4 rootwait rw", slot.part_uuid)
    }
}

/// A UUID of version 8 (RFC 9562, section 5.8) from the head of a SHA-256.
fn identification(board: &str, name: &str, of: &str) -> Uuid {
    let digest = Sha256::digest(format!("SIS card 1\0{board}\0{name}\0{of}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_follow_each_other_and_leave_room_for_both_tables() {
        for bytes in [CARD_BYTES_MIN, CARD_BYTES, 64 << 30] {
            let layout = Layout::new("b", bytes).expect("large enough");
            let mut next = ALIGN_BYTES;
            for (place, number) in layout.places.iter().zip(1..) {
                assert_eq!((place.offset, place.role as u32), (next, number));
                assert_eq!(layout.place(place.role), place);
                assert!(place.bytes.is_multiple_of(ALIGN_BYTES) && place.bytes > 0);
                next += place.bytes;
            }
            assert_eq!(next + ALIGN_BYTES, bytes);
        }
        assert!(matches!(
            Layout::new("b", CARD_BYTES_MIN - ALIGN_BYTES),
            Err(CardError::Size(_))
        ));
        assert!(matches!(Layout::new("b", CARD_BYTES + 512), Err(CardError::Size(_))));
    }

    #[test]
    fn identifications_are_the_same_on_every_build_and_differ_otherwise() {
        let of = |board| {
            let layout = Layout::new(board, CARD_BYTES).expect("large enough");
            let mut all = vec![layout.disk_uuid];
            all.extend(layout.places.iter().flat_map(|place| [place.part_uuid, place.fs_uuid]));
            all
        };
        assert_eq!(of("rpi4"), of("rpi4"));
        let mut all = [of("rpi4"), of("qemu-virt")].concat();
        assert!(all.iter().all(|uuid| uuid.get_version_num() == 8));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn the_root_stays_where_installed_boards_look_for_it() {
        let layout = Layout::new("rpi4", CARD_BYTES).expect("large enough");
        // Changing this breaks the command line of every card that is out there.
        assert_eq!(
            layout.root_words(Role::SlotA),
            "root=PARTUUID=81f4ec62-5f47-83e4-8431-c14e0e2557ef rootfstype=ext4 rootwait rw"
        );
    }
}
