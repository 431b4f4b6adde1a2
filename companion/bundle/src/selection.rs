//! Which system of a card starts: what the loader reads, and what a board writes to choose.
//!
//! One file of one sector on the first partition of the card, so that a choice is written whole or not at all:
//!
//! - [`Kind::Environment`], `slots.env`, for U-Boot: a text for `env import -t`, filled with zeros.
//!   `slot` is the system that starts, `try` one that is to be tried and `tries` how often still; the boot script counts
//!   `tries` down before it starts the trial, so that whatever becomes of it, the next start is the last good one.
//! - [`Kind::Autoboot`], `autoboot.txt`, for the Raspberry Pi's bootloader: `boot_partition` of `[all]` starts, the one of
//!   `[tryboot]` does once after a restart with [`TRYBOOT`]
//!   (<https://www.raspberrypi.com/documentation/computers/config_txt.html#autoboot-txt>).

use crate::Slot;

/// Bytes of the file: one sector.
pub const FILE_BYTES: usize = 512;
/// The argument of the restart (reboot(2), `LINUX_REBOOT_CMD_RESTART2`) that has the Pi's bootloader start the other system once.
pub const TRYBOOT: &str = "0 tryboot";

/// Numbers of the partitions that a loader reads, as [`Slot`]s.
const BOOT_PARTITIONS: [(u32, Slot); 2] = [(2, Slot::A), (3, Slot::B)];

/// How a loader is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// U-Boot's boot script.
    Environment,
    /// The Pi's bootloader.
    Autoboot,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Environment, Self::Autoboot];

    /// Name of the file.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::Environment => "slots.env",
            Self::Autoboot => "autoboot.txt",
        }
    }

    /// What the file says. `None` for what says nothing.
    #[must_use]
    pub fn parse(self, bytes: &[u8]) -> Option<Selection> {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
        match self {
            Self::Environment => environment(text),
            Self::Autoboot => autoboot(text),
        }
    }

    /// The file that says it. An `autoboot.txt` cannot say that there is a trial: a restart with [`TRYBOOT`] does.
    #[must_use]
    pub fn render(self, selection: Selection) -> [u8; FILE_BYTES] {
        let text = match self {
            Self::Environment => {
                let name = selection.trial.map_or("none", Slot::name);
                let tries = u8::from(selection.trial.is_some());
                format!("slot={}\ntry={name}\ntries={tries}\n", selection.committed)
            }
            Self::Autoboot => {
                let number = |slot| {
                    BOOT_PARTITIONS
                        .iter()
                        .find(|(_, of)| *of == slot)
                        .map_or(0, |(n, _)| *n)
                };
                format!(
                    "[all]\ntryboot_a_b=1\nboot_partition={}\n[tryboot]\nboot_partition={}\n",
                    number(selection.committed),
                    number(selection.committed.other())
                )
            }
        };
        let mut file = [0; FILE_BYTES];
        for (to, from) in file.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        file
    }
}

/// Which system starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The last good one.
    pub committed: Slot,
    /// Starts instead the next time, and only then.
    pub trial: Option<Slot>,
}

impl Selection {
    /// This one, and nothing to be tried.
    #[must_use]
    pub const fn of(committed: Slot) -> Self {
        Self { committed, trial: None }
    }
}

fn environment(text: &str) -> Option<Selection> {
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(str::trim)
    };
    let committed = Slot::parse(value("slot")?)?;
    let tries: u32 = value("tries").and_then(|text| text.parse().ok()).unwrap_or(0);
    let trial = value("try").and_then(Slot::parse).filter(|_| tries > 0);
    Some(Selection { committed, trial })
}

fn autoboot(text: &str) -> Option<Selection> {
    let mut is_for_all = true;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_for_all = line == "[all]";
        } else if let Some(number) = line.strip_prefix("boot_partition=").filter(|_| is_for_all) {
            let number: u32 = number.trim().parse().ok()?;
            let (_, slot) = BOOT_PARTITIONS.iter().find(|(of, _)| *of == number)?;
            return Some(Selection::of(*slot));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for slot in [Slot::A, Slot::B] {
            let plain = Selection::of(slot);
            for kind in Kind::ALL {
                assert_eq!(kind.parse(&kind.render(plain)), Some(plain));
            }
            let trial = Selection {
                committed: slot,
                trial: Some(slot.other()),
            };
            assert_eq!(Kind::Environment.parse(&Kind::Environment.render(trial)), Some(trial));
        }
    }

    #[test]
    fn the_texts_are_as_their_readers_expect_them() {
        let text = |kind: Kind, selection| {
            let bytes = kind.render(selection);
            String::from_utf8(bytes.to_vec())
                .expect("is a text")
                .trim_end_matches('\0')
                .to_owned()
        };
        let trial = Selection {
            committed: Slot::A,
            trial: Some(Slot::B),
        };
        assert_eq!(text(Kind::Environment, trial), "slot=a\ntry=b\ntries=1\n");
        assert_eq!(
            text(Kind::Autoboot, Selection::of(Slot::B)),
            "[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n"
        );
        // As `env export -t` leaves it, sorted by name.
        let exported = Kind::Environment.parse(b"slot=b\ntries=0\ntry=a\n\0\0");
        assert_eq!(exported, Some(Selection::of(Slot::B)));
    }

    #[test]
    fn what_says_nothing_is_not_guessed() {
        for bad in ["", "slot=c\n", "try=b\ntries=1\n", "\u{ff}", "slot"] {
            assert_eq!(Kind::Environment.parse(bad.as_bytes()), None, "{bad:?}");
        }
        for bad in [
            "",
            "[tryboot]\nboot_partition=2\n",
            "[all]\nboot_partition=1\n",
            "boot_partition=x",
        ] {
            assert_eq!(Kind::Autoboot.parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(Kind::Autoboot.parse(&[0xff; 512]), None);
    }
}
