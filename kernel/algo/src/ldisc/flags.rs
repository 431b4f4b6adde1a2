//! The settings of a terminal, in the bits of `struct termios` (asm-generic/termbits.h).

/// Input modes (`c_iflag`).
pub mod iflag {
    /// Strip the eighth bit.
    pub const ISTRIP: u32 = 0o40;
    /// Newline becomes carriage return.
    pub const INLCR: u32 = 0o100;
    /// Carriage return is dropped.
    pub const IGNCR: u32 = 0o200;
    /// Carriage return becomes newline.
    pub const ICRNL: u32 = 0o400;
    /// Upper case becomes lower case.
    pub const IUCLC: u32 = 0o1000;
    /// ^S and ^Q stop and start output.
    pub const IXON: u32 = 0o2000;
    /// Any character starts output.
    pub const IXANY: u32 = 0o4000;
    /// Ring when the input is full.
    pub const IMAXBEL: u32 = 0o20000;
    /// The input is UTF-8, for erasing.
    pub const IUTF8: u32 = 0o40000;
}

/// Output modes (`c_oflag`).
pub mod oflag {
    /// Process output at all.
    pub const OPOST: u32 = 0o1;
    /// Lower case becomes upper case.
    pub const OLCUC: u32 = 0o2;
    /// Newline becomes carriage return, newline.
    pub const ONLCR: u32 = 0o4;
    /// Carriage return becomes newline.
    pub const OCRNL: u32 = 0o10;
    /// No carriage return at column 0.
    pub const ONOCR: u32 = 0o20;
    /// Newline does a carriage return.
    pub const ONLRET: u32 = 0o40;
    /// The field of tab handling.
    pub const TABDLY: u32 = 0o14000;
    /// Tabs become spaces.
    pub const TAB3: u32 = 0o14000;
}

/// Local modes (`c_lflag`).
pub mod lflag {
    /// Signals by character.
    pub const ISIG: u32 = 0o1;
    /// A line at a time.
    pub const ICANON: u32 = 0o2;
    /// Echo.
    pub const ECHO: u32 = 0o10;
    /// Erasing is shown by erasing.
    pub const ECHOE: u32 = 0o20;
    /// A newline after the kill character.
    pub const ECHOK: u32 = 0o40;
    /// Echo newline even without ECHO.
    pub const ECHONL: u32 = 0o100;
    /// Signals do not flush.
    pub const NOFLSH: u32 = 0o200;
    /// Background writers are stopped.
    pub const TOSTOP: u32 = 0o400;
    /// Control characters are echoed as ^X.
    pub const ECHOCTL: u32 = 0o1000;
    /// Killing is shown by erasing.
    pub const ECHOKE: u32 = 0o4000;
    /// Extended characters work.
    pub const IEXTEN: u32 = 0o100000;
}

/// Indexes of control characters (`c_cc`).
pub mod cc {
    /// ^C.
    pub const VINTR: usize = 0;
    /// ^\\.
    pub const VQUIT: usize = 1;
    /// DEL.
    pub const VERASE: usize = 2;
    /// ^U.
    pub const VKILL: usize = 3;
    /// ^D.
    pub const VEOF: usize = 4;
    /// Tenths of a second that a raw read waits.
    pub const VTIME: usize = 5;
    /// Bytes that a raw read waits for.
    pub const VMIN: usize = 6;
    /// ^Q.
    pub const VSTART: usize = 8;
    /// ^S.
    pub const VSTOP: usize = 9;
    /// ^Z.
    pub const VSUSP: usize = 10;
    /// Another end of line.
    pub const VEOL: usize = 11;
    /// ^R.
    pub const VREPRINT: usize = 12;
    /// ^W.
    pub const VWERASE: usize = 14;
    /// ^V.
    pub const VLNEXT: usize = 15;
    /// Yet another end of line.
    pub const VEOL2: usize = 16;
}

/// Number of control characters.
pub(super) const NCCS: usize = 19;

/// The settings that the line discipline obeys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Input modes.
    pub c_iflag: u32,
    /// Output modes.
    pub c_oflag: u32,
    /// Local modes.
    pub c_lflag: u32,
    /// Control characters; 0 is none.
    pub c_cc: [u8; NCCS],
}

impl Default for Settings {
    fn default() -> Self {
        let mut c_cc = [0; NCCS];
        let set = [
            (cc::VINTR, 3),
            (cc::VQUIT, 28),
            (cc::VERASE, 127),
            (cc::VKILL, 21),
            (cc::VEOF, 4),
            (cc::VMIN, 1),
            (cc::VSTART, 17),
            (cc::VSTOP, 19),
            (cc::VSUSP, 26),
            (cc::VREPRINT, 18),
            (cc::VWERASE, 23),
            (cc::VLNEXT, 22),
        ];
        for (i, c) in set {
            if let Some(slot) = c_cc.get_mut(i) {
                *slot = c;
            }
        }
        Self {
            c_iflag: iflag::ICRNL | iflag::IXON,
            c_oflag: oflag::OPOST | oflag::ONLCR,
            c_lflag: lflag::ISIG
                | lflag::ICANON
                | lflag::ECHO
                | lflag::ECHOE
                | lflag::ECHOK
                | lflag::ECHOCTL
                | lflag::ECHOKE
                | lflag::IEXTEN,
            c_cc,
        }
    }
}

impl Settings {
    pub(super) fn has_input(&self, bit: u32) -> bool {
        self.c_iflag & bit != 0
    }

    pub(super) fn has_output(&self, bit: u32) -> bool {
        self.c_oflag & bit != 0
    }

    pub(super) fn has_local(&self, bit: u32) -> bool {
        self.c_lflag & bit != 0
    }

    pub(super) fn output_tabs(&self) -> bool {
        self.c_oflag & oflag::TABDLY == oflag::TAB3
    }

    /// Control character `index`.
    pub fn control(&self, index: usize) -> u8 {
        self.c_cc.get(index).copied().unwrap_or(0)
    }

    pub(super) fn is_control(&self, index: usize, byte: u8) -> bool {
        let c = self.control(index);
        c != 0 && c == byte
    }
}
