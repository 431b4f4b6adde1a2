//! What a program finds on its stack when it begins: argc, argv, the environment, the auxiliary vector, and the strings
//! (System V ABI, "Process Initialization"; getauxval(3)).
//!
//! From low to high addresses: argc, pointers to the arguments, NULL, pointers to the environment, NULL, the auxiliary
//! vector, padding, 16 random bytes, the platform's name, the strings of arguments and environment, the program's path,
//! eight zero bytes.

use alloc::collections::TryReserveError;

use super::rope::Rope;

/// The auxiliary vector's tags that point into the stack itself (uapi/linux/auxvec.h).
const AT_NULL: u64 = 0;
const AT_PLATFORM: u64 = 15;
const AT_RANDOM: u64 = 25;
const AT_EXECFN: u64 = 31;

/// What goes onto the stack.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// Arguments, each ending with a NUL and with no other, one behind another.
    pub args: &'a Rope,
    /// Environment, likewise.
    pub env: &'a Rope,
    /// The program's path (AT_EXECFN), without NUL.
    pub path: &'a [u8],
    /// AT_PLATFORM, without NUL.
    pub platform: &'a [u8],
    /// AT_RANDOM.
    pub random: [u8; 16],
    /// Tags and values that do not point into the stack, without AT_NULL.
    pub aux: &'a [(u64, u64)],
}

/// A stack's first contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The bytes; they end at the top.
    pub bytes: Rope,
    /// The stack pointer: the address of the first byte, a multiple of 16.
    pub sp: u64,
    /// Where the arguments' strings are.
    pub args: (u64, u64),
    /// Where the environment's strings are.
    pub env: (u64, u64),
    /// Where the auxiliary vector is.
    pub auxv: (u64, u64),
}

/// Why a stack cannot be laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StackError {
    /// There is not so much below the top.
    TooLarge,
    /// The kernel has no memory for it.
    NoMemory,
}

impl From<TryReserveError> for StackError {
    fn from(_: TryReserveError) -> Self {
        Self::NoMemory
    }
}

/// Lays the contents out below `top` (a multiple of 16).
///
/// # Errors
/// See [`StackError`].
pub fn build(contents: &Contents<'_>, top: u64) -> Result<Image, StackError> {
    let argc = contents.args.string_starts().count();
    let envc = contents.env.string_starts().count();
    let auxc = contents.aux.len() + 4;
    let words = 1 + argc + 1 + envc + 1 + 2 * auxc;
    let fixed = contents.path.len() + 1 + contents.platform.len() + 1 + contents.random.len() + 8;
    let strings = contents.args.len() + contents.env.len() + fixed;
    let len = (words * 8 + strings + 15) & !15;
    let sp = top.checked_sub(len as u64).ok_or(StackError::TooLarge)?;
    // Strings end at the top; what is between them and the words is padding.
    let random_at = top - strings as u64;
    let platform_at = random_at + 16;
    let args_at = platform_at + contents.platform.len() as u64 + 1;
    let env_at = args_at + contents.args.len() as u64;
    let path_at = env_at + contents.env.len() as u64;
    let mut bytes = Rope::new();
    bytes.push(&(argc as u64).to_le_bytes())?;
    for (text, from) in [(contents.args, args_at), (contents.env, env_at)] {
        for start in text.string_starts() {
            bytes.push(&(from + start as u64).to_le_bytes())?;
        }
        bytes.push(&[0; 8])?;
    }
    let own = [
        (AT_RANDOM, random_at),
        (AT_PLATFORM, platform_at),
        (AT_EXECFN, path_at),
        (AT_NULL, 0),
    ];
    for (tag, value) in contents.aux.iter().chain(&own) {
        bytes.push(&tag.to_le_bytes())?;
        bytes.push(&value.to_le_bytes())?;
    }
    pad(&mut bytes, len - strings)?;
    bytes.push(&contents.random)?;
    bytes.push(contents.platform)?;
    bytes.push(&[0])?;
    for piece in contents.args.pieces().chain(contents.env.pieces()) {
        bytes.push(piece)?;
    }
    bytes.push(contents.path)?;
    pad(&mut bytes, len)?;
    let auxv_at = sp + (words - 2 * auxc) as u64 * 8;
    Ok(Image {
        bytes,
        sp,
        args: (args_at, env_at),
        env: (env_at, path_at),
        auxv: (auxv_at, auxv_at + 16 * auxc as u64),
    })
}

/// Adds zeros until there are `to` bytes; never more than a few.
fn pad(bytes: &mut Rope, to: usize) -> Result<(), TryReserveError> {
    while bytes.len() < to {
        bytes.push(&[0])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    struct Flat {
        bytes: Vec<u8>,
        sp: u64,
    }

    fn word(image: &Flat, at: u64) -> u64 {
        let i = (at - image.sp) as usize;
        u64::from_le_bytes(image.bytes[i..i + 8].try_into().expect("8"))
    }

    fn text(image: &Flat, at: u64) -> &[u8] {
        let rest = &image.bytes[(at - image.sp) as usize..];
        &rest[..rest.iter().position(|b| *b == 0).expect("terminated")]
    }

    fn rope(bytes: &[u8]) -> Rope {
        let mut out = Rope::new();
        out.push(bytes).expect("memory");
        out
    }

    fn build_of(args: &[u8], env: &[u8], top: u64) -> Result<(Image, Flat), StackError> {
        let (args, env) = (rope(args), rope(env));
        let contents = Contents {
            args: &args,
            env: &env,
            path: b"/bin/x",
            platform: b"aarch64",
            random: [7; 16],
            aux: &[(6, 4096), (9, 0x400000)],
        };
        let image = build(&contents, top)?;
        let flat = Flat {
            bytes: image.bytes.bytes().collect(),
            sp: image.sp,
        };
        Ok((image, flat))
    }

    #[test]
    fn a_program_finds_everything() {
        for top in [0x7fff_f000u64, 0x1_0000_0000_0000] {
            let (image, flat) = build_of(b"x\0-l\0\0", b"A=1\0", top).expect("fits");
            assert_eq!(image.sp % 16, 0);
            assert_eq!(image.sp + image.bytes.len() as u64, top);
            let at = |n: u64| word(&flat, image.sp + 8 * n);
            assert_eq!(at(0), 3);
            assert_eq!(text(&flat, at(1)), b"x");
            assert_eq!(text(&flat, at(2)), b"-l");
            assert_eq!(text(&flat, at(3)), b"");
            assert_eq!(at(4), 0);
            assert_eq!(text(&flat, at(5)), b"A=1");
            assert_eq!(at(6), 0);
            assert_eq!(image.auxv.0, image.sp + 56);
            assert_eq!((at(7), at(8)), (6, 4096));
            assert_eq!(at(11), AT_RANDOM);
            let random = (at(12) - image.sp) as usize;
            assert_eq!(flat.bytes[random..random + 16], [7; 16]);
            assert_eq!(text(&flat, at(14)), b"aarch64");
            assert_eq!(text(&flat, at(16)), b"/bin/x");
            assert_eq!((at(17), at(18)), (0, 0));
            assert_eq!(image.auxv.1, image.sp + 19 * 8);
            assert_eq!(image.args.1, image.env.0);
        }
    }

    #[test]
    fn without_arguments_too() {
        let (image, flat) = build_of(b"", b"", 0x10000).expect("fits");
        assert_eq!(word(&flat, image.sp), 0);
        assert_eq!(word(&flat, image.sp + 8), 0);
        assert_eq!(word(&flat, image.sp + 16), 0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(build_of(&vec![0; 4096], b"", 4096).err(), Some(StackError::TooLarge));
    }
}
