//! How a board is connected, and whether both sides speak alike.

use sis_protocol::PROTOCOL_MINOR;
use sis_protocol::hello::{self, Hello};
use sis_protocol::wire::{Info, Welcome};

use crate::input::Link;
use crate::text::{NAME_BYTES, SENTENCE_BYTES, clean, clean_option};

/// The link and since when it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// What it is doing.
    pub link: Link,
    /// Since when, Unix milliseconds of the host.
    pub since_ms: u64,
}

impl LinkStatus {
    /// When it will be tried again, Unix milliseconds of the host.
    #[must_use]
    pub const fn retry_at_ms(&self) -> Option<u64> {
        match &self.link {
            Link::Waiting { retry_in_ms, .. } => Some(self.since_ms.saturating_add(*retry_in_ms)),
            _ => None,
        }
    }
}

/// How a board's protocol goes with this program's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compatibility {
    /// The same version.
    Same,
    /// The board is older: it may not know all that it is asked.
    OlderBoard,
    /// The board is newer: some of what it says is not known here.
    NewerBoard,
    /// They do not understand each other.
    Incompatible {
        /// Which side is to be updated, for people.
        sentence: String,
    },
}

impl Compatibility {
    /// Of a board's greeting.
    #[must_use]
    pub fn of(hello: &Hello) -> Self {
        if let Err(sentence) = hello::check(hello) {
            return Self::Incompatible { sentence };
        }
        match hello.protocol_minor.cmp(&PROTOCOL_MINOR) {
            std::cmp::Ordering::Less => Self::OlderBoard,
            std::cmp::Ordering::Equal => Self::Same,
            std::cmp::Ordering::Greater => Self::NewerBoard,
        }
    }
}

/// A link's state with bounded texts.
pub(super) fn clean_link(link: Link) -> Link {
    match link {
        Link::Online(welcome) => Link::Online(Box::new(clean_welcome(*welcome))),
        Link::Waiting { retry_in_ms, reason } => Link::Waiting {
            retry_in_ms,
            reason: clean(reason, SENTENCE_BYTES),
        },
        Link::Refused { reason } => Link::Refused {
            reason: clean(reason, SENTENCE_BYTES),
        },
        Link::Unknown | Link::Connecting { .. } => link,
    }
}

fn clean_welcome(welcome: Welcome) -> Welcome {
    let Hello {
        protocol_major,
        protocol_minor,
        software,
        name,
        build_id,
    } = welcome.hello;
    Welcome {
        hello: Hello {
            protocol_major,
            protocol_minor,
            software: clean(software, NAME_BYTES),
            name: clean_option(name, NAME_BYTES),
            build_id: clean_option(build_id, NAME_BYTES),
        },
        client_name: clean(welcome.client_name, NAME_BYTES),
        ..welcome
    }
}

/// What a board says of itself, with bounded texts.
pub(super) fn clean_info(info: Info) -> Info {
    let text = |text| clean(text, NAME_BYTES);
    Info {
        name: text(info.name),
        machine: info.machine.map(text),
        sysname: text(info.sysname),
        release: text(info.release),
        version: text(info.version),
        arch: text(info.arch),
        agent_version: text(info.agent_version),
        agent_build_id: info.agent_build_id.map(text),
        kernel_build_id: info.kernel_build_id.map(text),
        source: text(info.source),
        ..info
    }
}
