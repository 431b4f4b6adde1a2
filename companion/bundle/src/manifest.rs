//! What a bundle says of itself.

use std::fmt;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::BundleError;

/// Version of the shape of [`Manifest`].
pub const SCHEMA: u32 = 1;
/// What [`Manifest::kind`] says: keeps other signed documents from being taken for this one.
pub const KIND: &str = "sis-update";
/// What [`Range`]s count in.
pub const BLOCK_BYTES: u64 = 4096;

/// More than any bundle has.
const PARTS_MAX: usize = 16;
const RANGES_MAX: usize = 16 * 1024;
const PARTITION_BYTES_MAX: u64 = 1 << 40;

/// One of the two systems of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// `a` or `b`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The slot of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::A, Self::B].into_iter().find(|slot| slot.name() == name)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a part is written onto.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The partition that the loader reads: `boot-a` or `boot-b`.
    Boot,
    /// The root: `slot-a` or `slot-b`.
    Root,
}

impl Target {
    /// The name of its partition in `slot`, as the partition table has it.
    #[must_use]
    pub const fn partition(self, slot: Slot) -> &'static str {
        match (self, slot) {
            (Self::Boot, Slot::A) => "boot-a",
            (Self::Boot, Slot::B) => "boot-b",
            (Self::Root, Slot::A) => "slot-a",
            (Self::Root, Slot::B) => "slot-b",
        }
    }
}

/// Blocks that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The first, from the partition's start.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// The content of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is written onto.
    pub target: Target,
    /// The slot that it is for; none where it suits both.
    pub slot: Option<Slot>,
    /// Bytes of the partition that it was made for; the board's must have at least so many.
    pub partition_bytes: u64,
    /// The blocks of [`BLOCK_BYTES`] that are written, in ascending order; the others are free and keep what they hold.
    pub ranges: Vec<Range>,
    /// SHA-256 of the blocks, one after the other, lower-case hexadecimal.
    pub sha256: String,
    /// Bytes in the bundle.
    pub stored_bytes: u64,
    /// SHA-256 of those.
    pub stored_sha256: String,
}

impl Part {
    /// Bytes that are written.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.count * BLOCK_BYTES).sum()
    }

    /// For people and logs.
    #[must_use]
    pub fn name(&self) -> String {
        match (self.target, self.slot) {
            (target, Some(slot)) => target.partition(slot).into(),
            (Target::Boot, None) => "boot".into(),
            (Target::Root, None) => "root".into(),
        }
    }

    fn check(&self) -> Result<(), String> {
        let blocks = self.partition_bytes / BLOCK_BYTES;
        if self.partition_bytes > PARTITION_BYTES_MAX || self.ranges.len() > RANGES_MAX {
            return Err("a partition is too large".into());
        }
        let mut next = 0;
        for range in &self.ranges {
            let end = range.first.checked_add(range.count);
            match end {
                Some(end) if range.first >= next && range.count > 0 && end <= blocks => next = end,
                _ => {
                    return Err(format!(
                        "{}: a range is out of order or outside the partition",
                        self.name()
                    ));
                }
            }
        }
        for digest in [&self.sha256, &self.stored_sha256] {
            let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            if digest.len() != 64 || !digest.bytes().all(is_digit) {
                return Err(format!("{}: a checksum is none", self.name()));
            }
        }
        Ok(())
    }
}

/// What a bundle is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`KIND`].
    pub kind: String,
    /// [`SCHEMA`].
    pub schema: u32,
    /// The board's name: no other takes it.
    pub board: String,
    /// Version of the system, by the rules of semver.org 2.0.
    pub version: Version,
    /// Git revision that it was built from.
    pub revision: String,
    /// Names the kernel.
    pub build_id: String,
    /// What it consists of, in the order in which it is stored.
    pub parts: Vec<Part>,
}

impl Manifest {
    /// The manifest in `json`, sound: every number in it can be relied upon.
    ///
    /// # Errors
    /// [`BundleError::Manifest`].
    pub fn parse(json: &[u8]) -> Result<Self, BundleError> {
        let manifest: Self = serde_json::from_slice(json).map_err(|error| BundleError::Manifest(error.to_string()))?;
        manifest.check().map_err(BundleError::Manifest)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if self.kind != KIND {
            return Err(format!("it is a {:?} and not a {KIND:?}", self.kind));
        }
        if self.schema != SCHEMA {
            return Err(format!("its shape {} is not known here, only {SCHEMA} is", self.schema));
        }
        if self.parts.len() > PARTS_MAX {
            return Err("it has too many parts".into());
        }
        self.parts.iter().try_for_each(Part::check)?;
        let total = self
            .parts
            .iter()
            .try_fold(0u64, |sum, part| sum.checked_add(part.stored_bytes));
        if total.is_none_or(|total| total > PARTITION_BYTES_MAX) {
            return Err("it is too large".into());
        }
        for slot in [Slot::A, Slot::B] {
            for target in [Target::Boot, Target::Root] {
                if self.parts_of(slot).filter(|(_, part)| part.target == target).count() != 1 {
                    return Err(format!("it has not one {}", target.partition(slot)));
                }
            }
        }
        Ok(())
    }

    /// Bytes of all parts as they are stored.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.stored_bytes).sum()
    }

    /// The parts that make up `slot`, each with where it begins behind the head.
    pub fn parts_of(&self, slot: Slot) -> impl Iterator<Item = (u64, &Part)> {
        self.parts
            .iter()
            .scan(0, |next, part| {
                let offset = *next;
                *next += part.stored_bytes;
                Some((offset, part))
            })
            .filter(move |(_, part)| part.slot.is_none_or(|of| of == slot))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Manifest {
        let part = |target, slot| Part {
            target,
            slot,
            partition_bytes: 1 << 20,
            ranges: vec![Range { first: 0, count: 2 }, Range { first: 9, count: 1 }],
            sha256: "a".repeat(64),
            stored_bytes: 100,
            stored_sha256: "0".repeat(64),
        };
        Manifest {
            kind: KIND.into(),
            schema: SCHEMA,
            board: "test".into(),
            version: Version::new(1, 2, 3),
            revision: "r".into(),
            build_id: "b".into(),
            parts: vec![
                part(Target::Boot, Some(Slot::A)),
                part(Target::Boot, Some(Slot::B)),
                part(Target::Root, None),
            ],
        }
    }

    #[test]
    fn each_slot_has_its_own_boot_and_the_common_root() {
        let manifest = sample();
        let of = |slot| -> Vec<_> {
            manifest
                .parts_of(slot)
                .map(|(offset, part)| (offset, part.target.partition(slot)))
                .collect()
        };
        assert_eq!(of(Slot::A), [(0, "boot-a"), (200, "slot-a")]);
        assert_eq!(of(Slot::B), [(100, "boot-b"), (200, "slot-b")]);
        assert_eq!(manifest.stored_bytes(), 300);
        assert_eq!(manifest.parts[0].content_bytes(), 3 * BLOCK_BYTES);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        type Change = fn(&mut Manifest);
        let changes: [Change; 11] = [
            |m| m.kind = "card".into(),
            |m| m.schema = 2,
            |m| m.parts[2].slot = Some(Slot::A),
            |m| drop(m.parts.pop()),
            |m| m.parts[0].ranges[1].first = 1,
            |m| m.parts[0].ranges[1].first = 256,
            |m| m.parts[0].ranges[1].first = u64::MAX,
            |m| m.parts[0].ranges[1].count = 0,
            |m| m.parts[1].stored_bytes = u64::MAX,
            |m| m.parts[1].sha256 = "A".repeat(64),
            |m| m.parts[1].partition_bytes = u64::MAX,
        ];
        let parse = |manifest: &Manifest| Manifest::parse(&serde_json::to_vec(manifest).expect("is JSON"));
        assert_eq!(parse(&sample()).expect("is sound"), sample());
        for (number, change) in changes.into_iter().enumerate() {
            let mut manifest = sample();
            change(&mut manifest);
            assert!(
                matches!(parse(&manifest), Err(BundleError::Manifest(_))),
                "change {number}"
            );
        }
    }
}
