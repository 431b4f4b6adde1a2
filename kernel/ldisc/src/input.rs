//! Input processing: what each byte of the terminal does.

use sis_abi::{
    signal::{SIGINT, SIGQUIT, SIGTSTP, Signal},
    tty::{
        InputFlags, LocalFlags, VEOF, VEOL, VEOL2, VERASE, VINTR, VKILL, VLNEXT, VQUIT, VREPRINT, VSTART, VSTOP, VSUSP,
        VWERASE,
    },
};

use super::{BUFFER_BYTES, Cell, End, Flow, LineDiscipline, Received, edit::Erase, output::lower};

/// What to do with a byte.
enum Taken {
    /// It is done.
    Yes,
    /// There is no room for it now.
    NoRoom,
}

impl LineDiscipline {
    /// Takes bytes from the terminal.
    pub fn receive(&mut self, bytes: &[u8]) -> Received {
        let mut out = Received::default();
        for byte in bytes {
            match self.receive_byte(*byte, &mut out) {
                Taken::Yes => out.consumed += 1,
                Taken::NoRoom => break,
            }
        }
        out
    }

    /// The terminal sent a break.
    pub fn receive_break(&mut self) -> Received {
        let mut out = Received::default();
        if self.iflag.contains(InputFlags::IGNBRK) {
            return out;
        }
        if self.iflag.contains(InputFlags::BRKINT) {
            self.signal(SIGINT, &mut out);
            return out;
        }
        if self.iflag.contains(InputFlags::PARMRK) {
            self.put_input(0xff, &mut out);
            self.put_input(0, &mut out);
        }
        self.put_input(0, &mut out);
        out
    }

    fn is_on(&self, flag: LocalFlags) -> bool {
        self.lflag.contains(flag)
    }

    fn is_control(&self, byte: u8, which: usize) -> bool {
        self.termios.control(which) == Some(byte)
    }

    fn receive_byte(&mut self, mut byte: u8, out: &mut Received) -> Taken {
        if self.iflag.contains(InputFlags::ISTRIP) {
            byte &= 0x7f;
        }
        if self.iflag.contains(InputFlags::IUCLC) && self.is_on(LocalFlags::IEXTEN) {
            byte = lower(byte);
        }
        if self.is_quoted {
            return self.ordinary(byte, false, out);
        }
        if self.flow_control(byte, out) || self.signal_byte(byte, out) {
            return Taken::Yes;
        }
        self.start_on_any(out);
        let typed = byte;
        match byte {
            b'\r' if self.iflag.contains(InputFlags::IGNCR) => return Taken::Yes,
            b'\r' if self.iflag.contains(InputFlags::ICRNL) => byte = b'\n',
            b'\n' if self.iflag.contains(InputFlags::INLCR) => byte = b'\r',
            _ => {}
        }
        let is_mapped = byte != typed;
        if self.is_canonical()
            && let Some(taken) = self.canonical(byte, out)
        {
            return taken;
        }
        self.ordinary(byte, is_mapped, out)
    }

    /// VSTOP and VSTART with IXON.
    fn flow_control(&mut self, byte: u8, out: &mut Received) -> bool {
        if !self.iflag.contains(InputFlags::IXON) {
            return false;
        }
        // Where both are the same byte, it toggles.
        if self.is_control(byte, VSTART) && (self.is_stopped || !self.is_control(byte, VSTOP)) {
            self.is_stopped = false;
            out.flow = Some(Flow::Start);
            return true;
        }
        if self.is_control(byte, VSTOP) {
            self.is_stopped = true;
            out.flow = Some(Flow::Stop);
            return true;
        }
        false
    }

    fn start_on_any(&mut self, out: &mut Received) {
        if self.is_stopped && self.iflag.contains(InputFlags::IXON | InputFlags::IXANY) {
            self.is_stopped = false;
            out.flow = Some(Flow::Start);
        }
    }

    /// VINTR, VQUIT and VSUSP with ISIG.
    fn signal_byte(&mut self, byte: u8, out: &mut Received) -> bool {
        if !self.is_on(LocalFlags::ISIG) {
            return false;
        }
        let signals = [(VINTR, SIGINT), (VQUIT, SIGQUIT), (VSUSP, SIGTSTP)];
        let Some((_, signal)) = signals.into_iter().find(|(which, _)| self.is_control(byte, *which)) else {
            return false;
        };
        self.signal(signal, out);
        if self.is_stopped && self.iflag.contains(InputFlags::IXON) {
            self.is_stopped = false;
            out.flow = Some(Flow::Start);
        }
        if self.is_on(LocalFlags::ECHO) {
            self.echo_byte(byte, &mut out.echo);
        }
        true
    }

    /// Sends a signal, and throws away what is under way, unless NOFLSH.
    fn signal(&mut self, signal: Signal, out: &mut Received) {
        if !self.is_on(LocalFlags::NOFLSH) {
            self.flush_input();
            out.echo.clear();
            out.has_output_flush = true;
            out.is_readable = false;
        }
        out.signals.push(signal);
    }

    /// What is special in canonical mode (`n_tty_receive_char_canon` of Linux); `None` when the byte is ordinary.
    fn canonical(&mut self, byte: u8, out: &mut Received) -> Option<Taken> {
        let has_extensions = self.is_on(LocalFlags::IEXTEN);
        let has_echo = self.is_on(LocalFlags::ECHO);
        let erase = if self.is_control(byte, VERASE) {
            Some(Erase::Character)
        } else if self.is_control(byte, VKILL) {
            Some(Erase::Line)
        } else if self.is_control(byte, VWERASE) && has_extensions {
            Some(Erase::Word)
        } else {
            None
        };
        if let Some(erase) = erase {
            self.erase(erase, &mut out.echo);
            return Some(Taken::Yes);
        }
        if self.is_control(byte, VLNEXT) && has_extensions {
            self.is_quoted = true;
            if has_echo {
                self.finish_erasing(&mut out.echo);
                if self.is_on(LocalFlags::ECHOCTL) {
                    self.echo_raw(b'^', &mut out.echo);
                    self.echo_raw(8, &mut out.echo);
                }
            }
            return Some(Taken::Yes);
        }
        if self.is_control(byte, VREPRINT) && has_echo && has_extensions {
            self.reprint(byte, &mut out.echo);
            return Some(Taken::Yes);
        }
        let is_newline = byte == b'\n';
        let is_eof = self.is_control(byte, VEOF);
        let is_end = self.is_control(byte, VEOL) || self.is_control(byte, VEOL2) && has_extensions;
        if !is_newline && !is_eof && !is_end {
            return None;
        }
        // A line that waits may fill the buffer; without one there is always room for an end.
        if self.lines > 0 && self.used() >= BUFFER_BYTES {
            return Some(Taken::NoRoom);
        }
        if is_newline {
            if has_echo || self.is_on(LocalFlags::ECHONL) {
                self.echo_raw(b'\n', &mut out.echo);
            }
            self.end_line(Cell { byte, end: End::Line }, out);
        } else if is_eof {
            self.end_line(Cell { byte: 0, end: End::Eof }, out);
        } else {
            if has_echo {
                self.note_line_start();
                self.echo_byte(byte, &mut out.echo);
            }
            self.end_line(Cell { byte, end: End::Line }, out);
        }
        Some(Taken::Yes)
    }

    /// Makes the line readable.
    fn end_line(&mut self, end: Cell, out: &mut Received) {
        let line = self.edit.drain(..).map(|byte| Cell { byte, end: End::None });
        self.ready.extend(line);
        self.ready.push_back(end);
        self.lines += 1;
        out.is_readable = true;
    }

    /// A byte that means nothing but itself. A newline that was typed as such is echoed as any control character, one that was a CR is not.
    fn ordinary(&mut self, byte: u8, is_mapped: bool, out: &mut Received) -> Taken {
        let needed = 1 + usize::from(self.is_marked(byte));
        if self.used() + needed > BUFFER_BYTES - 1 {
            let has_waiting = if self.is_canonical() {
                self.lines > 0
            } else {
                !self.ready.is_empty()
            };
            if has_waiting {
                return Taken::NoRoom;
            }
            // Nobody can make room for a line that is too long: what is too much is lost.
            self.is_quoted = false;
            if self.iflag.contains(InputFlags::IMAXBEL) && self.is_on(LocalFlags::ECHO) {
                self.echo_raw(7, &mut out.echo);
            }
            return Taken::Yes;
        }
        self.start_on_any(out);
        self.is_quoted = false;
        if self.is_on(LocalFlags::ECHO) {
            self.finish_erasing(&mut out.echo);
            if byte == b'\n' && is_mapped {
                self.echo_raw(byte, &mut out.echo);
            } else {
                self.note_line_start();
                self.echo_byte(byte, &mut out.echo);
            }
        }
        if self.is_marked(byte) {
            self.put_input(byte, out);
        }
        self.put_input(byte, out);
        Taken::Yes
    }

    /// Whether a byte is doubled because 0xff marks errors (PARMRK).
    fn is_marked(&self, byte: u8) -> bool {
        byte == 0xff && self.iflag.contains(InputFlags::PARMRK)
    }

    /// How much unread input there is.
    fn used(&self) -> usize {
        self.ready.len() + self.edit.len()
    }

    fn put_input(&mut self, byte: u8, out: &mut Received) {
        if self.is_canonical() {
            self.edit.push(byte);
        } else {
            self.ready.push_back(Cell { byte, end: End::None });
            out.is_readable = true;
        }
    }
}
