//! Features a superblock may name, and what is done about each.

/// Features that may be ignored by who does not know them (`s_feature_compat`).
pub(crate) mod compat {
    pub(crate) const HAS_JOURNAL: u32 = 0x4;
    pub(crate) const DIR_INDEX: u32 = 0x20;
    pub(crate) const SPARSE_SUPER2: u32 = 0x200;
    pub(crate) const ORPHAN_FILE: u32 = 0x1000;
}

/// Features that nobody may mount without knowing them (`s_feature_incompat`).
pub(crate) mod incompat {
    pub(crate) const FILETYPE: u32 = 0x2;
    pub(crate) const RECOVER: u32 = 0x4;
    pub(crate) const META_BG: u32 = 0x10;
    pub(crate) const EXTENTS: u32 = 0x40;
    pub(crate) const BITS64: u32 = 0x80;
    pub(crate) const FLEX_BG: u32 = 0x200;
    pub(crate) const CSUM_SEED: u32 = 0x2000;
    pub(crate) const LARGEDIR: u32 = 0x4000;

    pub(crate) const KNOWN: u32 = FILETYPE | RECOVER | META_BG | EXTENTS | BITS64 | FLEX_BG | CSUM_SEED | LARGEDIR;
}

/// Features that nobody may write without knowing them (`s_feature_ro_compat`).
pub(crate) mod ro_compat {
    pub(crate) const SPARSE_SUPER: u32 = 0x1;
    pub(crate) const LARGE_FILE: u32 = 0x2;
    pub(crate) const HUGE_FILE: u32 = 0x8;
    pub(crate) const GDT_CSUM: u32 = 0x10;
    pub(crate) const DIR_NLINK: u32 = 0x20;
    pub(crate) const EXTRA_ISIZE: u32 = 0x40;
    pub(crate) const BIGALLOC: u32 = 0x200;
    pub(crate) const METADATA_CSUM: u32 = 0x400;
    pub(crate) const ORPHAN_PRESENT: u32 = 0x1_0000;

    pub(crate) const KNOWN: u32 =
        SPARSE_SUPER | LARGE_FILE | HUGE_FILE | GDT_CSUM | DIR_NLINK | EXTRA_ISIZE | METADATA_CSUM | ORPHAN_PRESENT;
}

/// The name of the lowest bit of `incompat` that is not known here.
pub(crate) fn unknown_incompat(bits: u32) -> Option<&'static str> {
    let unknown = bits & !incompat::KNOWN;
    (unknown != 0).then(|| match 1u32 << unknown.trailing_zeros() {
        0x1 => "compression",
        0x8 => "journal_dev",
        0x100 => "mmp",
        0x400 => "ea_inode",
        0x1000 => "dirdata",
        0x8000 => "inline_data",
        0x1_0000 => "encrypt",
        0x2_0000 => "casefold",
        _ => "an incompatible feature that is not known",
    })
}

/// The name of the lowest bit of `ro_compat` that forbids writing.
pub(crate) fn unknown_ro_compat(bits: u32) -> Option<&'static str> {
    let unknown = bits & !ro_compat::KNOWN;
    (unknown != 0).then(|| match 1u32 << unknown.trailing_zeros() {
        0x4 => "btree_dir",
        0x80 => "snapshot",
        0x100 => "quota",
        0x200 => "bigalloc",
        0x800 => "replica",
        0x1000 => "read-only",
        0x2000 => "project",
        0x4000 => "shared_blocks",
        0x8000 => "verity",
        _ => "a read-only-compatible feature that is not known",
    })
}
