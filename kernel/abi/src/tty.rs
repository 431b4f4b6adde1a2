//! Terminals: termios(3) as the kernel has it, and the ioctls of terminals (ioctl_tty(2)).

use crate::macros::{constants, flags, layout};

/// How many control characters there are.
pub const NCCS: usize = 19;

constants! { CC_LIST, usize, "termios(3)";
    VINTR = 0;
    VQUIT = 1;
    VERASE = 2;
    VKILL = 3;
    VEOF = 4;
    VTIME = 5;
    VMIN = 6;
    VSWTC = 7;
    VSTART = 8;
    VSTOP = 9;
    VSUSP = 10;
    VEOL = 11;
    VREPRINT = 12;
    VDISCARD = 13;
    VWERASE = 14;
    VLNEXT = 15;
    VEOL2 = 16;
}

/// A control character with this value is switched off.
pub const POSIX_VDISABLE: u8 = 0;

flags! {
    /// `c_iflag`: input.
    pub struct InputFlags: u32, "" {
        IGNBRK = 0x1;
        BRKINT = 0x2;
        IGNPAR = 0x4;
        PARMRK = 0x8;
        INPCK = 0x10;
        ISTRIP = 0x20;
        INLCR = 0x40;
        IGNCR = 0x80;
        ICRNL = 0x100;
        IUCLC = 0x200;
        IXON = 0x400;
        IXANY = 0x800;
        IXOFF = 0x1000;
        IMAXBEL = 0x2000;
        IUTF8 = 0x4000;
    }
}

flags! {
    /// `c_oflag`: output. `TABDLY` is two bits: XTABS (TAB3) when both are set.
    pub struct OutputFlags: u32, "" {
        OPOST = 0x1;
        OLCUC = 0x2;
        ONLCR = 0x4;
        OCRNL = 0x8;
        ONOCR = 0x10;
        ONLRET = 0x20;
        OFILL = 0x40;
        OFDEL = 0x80;
        NLDLY = 0x100;
        CRDLY = 0x600;
        XTABS = 0x1800;
        BSDLY = 0x2000;
        VTDLY = 0x4000;
        FFDLY = 0x8000;
    }
}

flags! {
    /// `c_lflag`: local modes.
    pub struct LocalFlags: u32, "" {
        ISIG = 0x1;
        ICANON = 0x2;
        XCASE = 0x4;
        ECHO = 0x8;
        ECHOE = 0x10;
        ECHOK = 0x20;
        ECHONL = 0x40;
        NOFLSH = 0x80;
        TOSTOP = 0x100;
        ECHOCTL = 0x200;
        ECHOPRT = 0x400;
        ECHOKE = 0x800;
        FLUSHO = 0x1000;
        PENDIN = 0x4000;
        IEXTEN = 0x8000;
        EXTPROC = 0x1_0000;
    }
}

constants! { CONTROL_LIST, u32, "termios(3)";
    CBAUD = 0x100f;
    CSIZE = 0x30;
    CS5 = 0;
    CS6 = 0x10;
    CS7 = 0x20;
    CS8 = 0x30;
    CSTOPB = 0x40;
    CREAD = 0x80;
    PARENB = 0x100;
    PARODD = 0x200;
    HUPCL = 0x400;
    CLOCAL = 0x800;
    CBAUDEX = 0x1000;
    BOTHER = 0x1000;
    B0 = 0;
    B9600 = 0xd;
    B19200 = 0xe;
    B38400 = 0xf;
    B57600 = 0x1001;
    B115200 = 0x1002;
    B230400 = 0x1003;
    B921600 = 0x1007;
    CRTSCTS = 0x8000_0000;
}

layout! {
    /// TCGETS, TCSETS.
    pub struct Termios = "struct termios", 36 {
        /// [`InputFlags`].
        c_iflag: u32 = 0,
        /// [`OutputFlags`].
        c_oflag: u32 = 4,
        /// Speed, size and parity.
        c_cflag: u32 = 8,
        /// [`LocalFlags`].
        c_lflag: u32 = 12,
        /// The line discipline; 0 is N_TTY.
        c_line: u8 = 16,
        /// The control characters, indexed by the `V` constants.
        c_cc: [u8; NCCS] = 17,
    }
}

layout! {
    /// TCGETS2, TCSETS2.
    pub struct Termios2 = "struct termios2", 44 {
        /// [`InputFlags`].
        c_iflag: u32 = 0,
        /// [`OutputFlags`].
        c_oflag: u32 = 4,
        /// Speed, size and parity.
        c_cflag: u32 = 8,
        /// [`LocalFlags`].
        c_lflag: u32 = 12,
        /// The line discipline; 0 is N_TTY.
        c_line: u8 = 16,
        /// The control characters, indexed by the `V` constants.
        c_cc: [u8; NCCS] = 17,
        /// The input speed.
        c_ispeed: u32 = 36,
        /// The output speed.
        c_ospeed: u32 = 40,
    }
}

impl Termios {
    /// What a new terminal has (`tty_std_termios` of Linux), at 115200 baud: a line at a time, echoed, with signals.
    pub const STANDARD: Self = Self {
        c_iflag: InputFlags::ICRNL.union(InputFlags::IXON).bits(),
        c_oflag: OutputFlags::OPOST.union(OutputFlags::ONLCR).bits(),
        c_cflag: B115200 | CS8 | CREAD | HUPCL | CLOCAL,
        c_lflag: LocalFlags::ISIG
            .union(LocalFlags::ICANON)
            .union(LocalFlags::ECHO)
            .union(LocalFlags::ECHOE)
            .union(LocalFlags::ECHOK)
            .union(LocalFlags::ECHOCTL)
            .union(LocalFlags::ECHOKE)
            .union(LocalFlags::IEXTEN)
            .bits(),
        c_line: 0,
        // ^C ^\ DEL ^U ^D 0 1 - ^Q ^S ^Z - ^R ^O ^W ^V -
        c_cc: [
            3, 0x1c, 0x7f, 0x15, 4, 0, 1, 0, 0x11, 0x13, 0x1a, 0, 0x12, 0x0f, 0x17, 0x16, 0, 0, 0,
        ],
    };

    /// The input flags.
    pub const fn input(&self) -> InputFlags {
        InputFlags::from_bits_truncate(self.c_iflag)
    }

    /// The output flags.
    pub const fn output(&self) -> OutputFlags {
        OutputFlags::from_bits_truncate(self.c_oflag)
    }

    /// The local flags.
    pub const fn local(&self) -> LocalFlags {
        LocalFlags::from_bits_truncate(self.c_lflag)
    }

    /// A control character, `None` when it is switched off. For VMIN and VTIME, which are numbers, read `c_cc`.
    pub fn control(&self, which: usize) -> Option<u8> {
        self.c_cc.get(which).copied().filter(|byte| *byte != POSIX_VDISABLE)
    }
}

impl From<Termios2> for Termios {
    fn from(t: Termios2) -> Self {
        Self {
            c_iflag: t.c_iflag,
            c_oflag: t.c_oflag,
            c_cflag: t.c_cflag,
            c_lflag: t.c_lflag,
            c_line: t.c_line,
            c_cc: t.c_cc,
        }
    }
}

layout! {
    /// TIOCGWINSZ, TIOCSWINSZ.
    pub struct Winsize = "struct winsize", 8 {
        /// Rows of characters.
        ws_row: u16 = 0,
        /// Columns of characters.
        ws_col: u16 = 2,
        /// Width in pixels, or 0.
        ws_xpixel: u16 = 4,
        /// Height in pixels, or 0.
        ws_ypixel: u16 = 6,
    }
}

constants! { IOCTL_LIST, u32, "ioctl_tty(2)";
    TCGETS = 0x5401;
    TCSETS = 0x5402;
    TCSETSW = 0x5403;
    TCSETSF = 0x5404;
    TCGETA = 0x5405;
    TCSETA = 0x5406;
    TCSETAW = 0x5407;
    TCSETAF = 0x5408;
    TCSBRK = 0x5409;
    TCXONC = 0x540a;
    TCFLSH = 0x540b;
    TIOCEXCL = 0x540c;
    TIOCNXCL = 0x540d;
    TIOCSCTTY = 0x540e;
    TIOCGPGRP = 0x540f;
    TIOCSPGRP = 0x5410;
    TIOCOUTQ = 0x5411;
    TIOCSTI = 0x5412;
    TIOCGWINSZ = 0x5413;
    TIOCSWINSZ = 0x5414;
    TIOCMGET = 0x5415;
    TIOCMBIS = 0x5416;
    TIOCMBIC = 0x5417;
    TIOCMSET = 0x5418;
    TIOCGSOFTCAR = 0x5419;
    TIOCSSOFTCAR = 0x541a;
    FIONREAD = 0x541b;
    TIOCLINUX = 0x541c;
    TIOCCONS = 0x541d;
    TIOCGSERIAL = 0x541e;
    TIOCSSERIAL = 0x541f;
    TIOCPKT = 0x5420;
    FIONBIO = 0x5421;
    TIOCNOTTY = 0x5422;
    TIOCSETD = 0x5423;
    TIOCGETD = 0x5424;
    TCSBRKP = 0x5425;
    TIOCSBRK = 0x5427;
    TIOCCBRK = 0x5428;
    TIOCGSID = 0x5429;
    TCGETS2 = 0x802c_542a;
    TCSETS2 = 0x402c_542b;
    TCSETSW2 = 0x402c_542c;
    TCSETSF2 = 0x402c_542d;
    TIOCGPTN = 0x8004_5430;
    TIOCSPTLCK = 0x4004_5431;
    TIOCGDEV = 0x8004_5432;
    TIOCSIG = 0x4004_5436;
    TIOCVHANGUP = 0x5437;
    TIOCGPKT = 0x8004_5438;
    TIOCGPTLCK = 0x8004_5439;
    TIOCGEXCL = 0x8004_5440;
    TIOCGPTPEER = 0x5441;
    FIONCLEX = 0x5450;
    FIOCLEX = 0x5451;
    FIOASYNC = 0x5452;
    FIOQSIZE = 0x5460;
    TCIFLUSH = 0;
    TCOFLUSH = 0x1;
    TCIOFLUSH = 0x2;
    TCOOFF = 0;
    TCOON = 0x1;
    TCIOFF = 0x2;
    TCION = 0x3;
}
