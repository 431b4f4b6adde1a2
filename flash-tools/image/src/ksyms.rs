//! The symbol blob behind the kernel: what a crash report turns addresses into names with.
//!
//! `b"SISKSYM1"`, count (u32), length of the names in bytes (u32), then `count` pairs of u32 (offset of the function
//! from the kernel's lowest virtual address, offset of its name in the names), sorted by address, then the names, each
//! ended by a zero byte. All numbers are little-endian.

/// First bytes of the blob.
pub const MAGIC: &[u8; 8] = b"SISKSYM1";

/// A function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Symbol {
    /// Bytes from the kernel's lowest virtual address.
    pub offset: u32,
    /// Its name, demangled.
    pub name: String,
}

/// An encoded blob.
#[derive(Debug)]
pub struct Blob {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// How many functions it names.
    pub count: usize,
}

/// Encodes `symbols`, in any order: sorted here, one name an address (the first in alphabetical order), equal names
/// stored once.
#[must_use]
pub fn encode(mut symbols: Vec<Symbol>) -> Blob {
    symbols.sort();
    symbols.dedup_by_key(|symbol| symbol.offset);
    let mut names = Vec::new();
    let mut known = std::collections::HashMap::new();
    let mut table = Vec::with_capacity(symbols.len() * 8);
    for symbol in &symbols {
        let name_offset = *known.entry(symbol.name.as_str()).or_insert_with(|| {
            let offset = names.len() as u32;
            names.extend(symbol.name.bytes().filter(|byte| *byte != 0));
            names.push(0);
            offset
        });
        table.extend_from_slice(&symbol.offset.to_le_bytes());
        table.extend_from_slice(&name_offset.to_le_bytes());
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(symbols.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(names.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&table);
    bytes.extend_from_slice(&names);
    Blob {
        bytes,
        count: symbols.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(offset: u32, name: &str) -> Symbol {
        Symbol {
            offset,
            name: name.into(),
        }
    }

    #[test]
    fn the_layout_is_the_contract() {
        let blob = encode(vec![symbol(0x20, "b"), symbol(0x10, "aa"), symbol(0x30, "aa")]);
        let mut expected = b"SISKSYM1".to_vec();
        for word in [3u32, 5, 0x10, 0, 0x20, 3, 0x30, 0] {
            expected.extend_from_slice(&word.to_le_bytes());
        }
        expected.extend_from_slice(b"aa\0b\0");
        assert_eq!(blob.bytes, expected);
    }

    #[test]
    fn aliases_of_one_address_are_one_entry() {
        let blob = encode(vec![symbol(0x10, "memmove"), symbol(0x10, "memcpy")]);
        assert_eq!(blob.count, 1);
        assert!(blob.bytes.ends_with(b"memcpy\0"));
    }

    #[test]
    fn no_symbols_is_an_empty_blob() {
        assert_eq!(encode(Vec::new()).bytes, b"SISKSYM1\0\0\0\0\0\0\0\0");
    }
}
