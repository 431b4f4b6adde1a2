//! Which hardware address has which IP address (RFC 826, RFC 4861 section 7), in bounded memory.
//!
//! A neighbour is *incomplete* while it is being asked for, *reachable* for a while after it was heard, then *stale*:
//! still used, but asked for again; silence after that makes it incomplete.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::packet::Mac;

const SECOND_NS: u64 = 1_000_000_000;
/// How long a neighbour is trusted after it was heard.
pub const REACHABLE_NS: u64 = 30 * SECOND_NS;
/// Between two questions.
pub const RETRANSMIT_NS: u64 = SECOND_NS;
/// Questions before a neighbour counts as gone.
pub const ATTEMPTS: u8 = 3;
/// Neighbours remembered.
pub const CAPACITY: usize = 256;
/// Frames that wait for one neighbour.
pub const QUEUE: usize = 32;
/// A failed neighbour is forgotten after this.
const FAILED_NS: u64 = SECOND_NS;

/// A neighbour: interface index and address.
pub type Key = (u32, IpAddr);

#[derive(Debug)]
enum State {
    Incomplete {
        asked: u8,
        next_ns: u64,
        waiting: Vec<Vec<u8>>,
    },
    Reachable {
        mac: Mac,
        until_ns: u64,
    },
    Probe {
        mac: Mac,
        asked: u8,
        next_ns: u64,
    },
    Failed {
        until_ns: u64,
    },
    Permanent {
        mac: Mac,
    },
}

/// What to do with a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Send it to this hardware address; ask for the neighbour too when the flag is set.
    Send(Vec<u8>, Mac, bool),
    /// It waits; ask for the neighbour when the flag is set.
    Wait(bool),
    /// The neighbour does not answer (EHOSTUNREACH).
    Unreachable,
}

/// What time demands.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// Ask for this neighbour.
    Ask(Key),
    /// This neighbour does not answer; these frames were dropped.
    Lost(Key, Vec<Vec<u8>>),
}

/// How a neighbour is shown (`/proc/net/arp`, RTM_GETNEIGH).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Interface and address.
    pub key: Key,
    /// Hardware address, when known.
    pub mac: Option<Mac>,
    /// Set by a person.
    pub is_permanent: bool,
}

/// The table.
#[derive(Debug, Default)]
pub struct NeighborTable {
    entries: BTreeMap<Key, State>,
}

impl NeighborTable {
    /// An empty table.
    pub const fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
        }
    }

    /// Decides about a frame for `key`.
    pub fn resolve(&mut self, now_ns: u64, key: Key, frame: Vec<u8>) -> Outcome {
        if let Some(state) = self.entries.get_mut(&key) {
            match state {
                State::Permanent { mac } => return Outcome::Send(frame, *mac, false),
                State::Reachable { mac, until_ns } => {
                    let mac = *mac;
                    let is_stale = now_ns >= *until_ns;
                    if is_stale {
                        *state = State::Probe {
                            mac,
                            asked: 1,
                            next_ns: now_ns + RETRANSMIT_NS,
                        };
                    }
                    return Outcome::Send(frame, mac, is_stale);
                }
                State::Probe { mac, .. } => return Outcome::Send(frame, *mac, false),
                State::Incomplete { waiting, .. } => {
                    if waiting.len() >= QUEUE {
                        waiting.remove(0);
                    }
                    waiting.push(frame);
                    return Outcome::Wait(false);
                }
                State::Failed { until_ns } if now_ns < *until_ns => return Outcome::Unreachable,
                State::Failed { .. } => {}
            }
        }
        self.make_room();
        let waiting = alloc::vec![frame];
        self.entries.insert(
            key,
            State::Incomplete {
                asked: 1,
                next_ns: now_ns + RETRANSMIT_NS,
                waiting,
            },
        );
        Outcome::Wait(true)
    }

    /// A neighbour was heard. Unknown ones are remembered only with `create`. Gives the frames that waited for it.
    pub fn learn(&mut self, now_ns: u64, key: Key, mac: Mac, create: bool) -> Vec<Vec<u8>> {
        let fresh = State::Reachable {
            mac,
            until_ns: now_ns + REACHABLE_NS,
        };
        match self.entries.get_mut(&key) {
            Some(State::Permanent { .. }) => Vec::new(),
            Some(state) => match core::mem::replace(state, fresh) {
                State::Incomplete { waiting, .. } => waiting,
                _ => Vec::new(),
            },
            None => {
                if create {
                    self.make_room();
                    self.entries.insert(key, fresh);
                }
                Vec::new()
            }
        }
    }

    /// Sets a neighbour for good.
    pub fn set_permanent(&mut self, key: Key, mac: Mac) -> Vec<Vec<u8>> {
        if !self.entries.contains_key(&key) {
            self.make_room();
        }
        match self.entries.insert(key, State::Permanent { mac }) {
            Some(State::Incomplete { waiting, .. }) => waiting,
            _ => Vec::new(),
        }
    }

    /// Forgets a neighbour; whether it was known.
    pub fn remove(&mut self, key: Key) -> bool {
        self.entries.remove(&key).is_some()
    }

    /// Forgets all neighbours of an interface (it went down, or its address changed).
    pub fn flush(&mut self, iface: u32) {
        self.entries
            .retain(|k, s| k.0 != iface || matches!(s, State::Permanent { .. }));
    }

    /// What is due now. Call again at [`Self::next_ns`].
    pub fn tick(&mut self, now_ns: u64) -> Vec<Due> {
        let mut due = Vec::new();
        let mut gone = Vec::new();
        for (key, state) in &mut self.entries {
            match state {
                State::Incomplete {
                    asked,
                    next_ns,
                    waiting,
                } if now_ns >= *next_ns => {
                    if *asked < ATTEMPTS {
                        *asked += 1;
                        *next_ns = now_ns + RETRANSMIT_NS;
                        due.push(Due::Ask(*key));
                    } else {
                        due.push(Due::Lost(*key, core::mem::take(waiting)));
                        *state = State::Failed {
                            until_ns: now_ns + FAILED_NS,
                        };
                    }
                }
                State::Probe { asked, next_ns, .. } if now_ns >= *next_ns => {
                    if *asked < ATTEMPTS {
                        *asked += 1;
                        *next_ns = now_ns + RETRANSMIT_NS;
                        due.push(Due::Ask(*key));
                    } else {
                        gone.push(*key);
                    }
                }
                State::Failed { until_ns } if now_ns >= *until_ns => gone.push(*key),
                _ => {}
            }
        }
        for key in gone {
            self.entries.remove(&key);
        }
        due
    }

    /// When [`Self::tick`] is due next.
    pub fn next_ns(&self) -> Option<u64> {
        let each = self.entries.values().filter_map(|s| match s {
            State::Incomplete { next_ns, .. } | State::Probe { next_ns, .. } => Some(*next_ns),
            State::Failed { until_ns } => Some(*until_ns),
            State::Reachable { .. } | State::Permanent { .. } => None,
        });
        each.min()
    }

    /// Every neighbour.
    pub fn iter(&self) -> impl Iterator<Item = Seen> {
        self.entries.iter().map(|(key, s)| {
            let mac = match s {
                State::Reachable { mac, .. } | State::Probe { mac, .. } | State::Permanent { mac } => Some(*mac),
                State::Incomplete { .. } | State::Failed { .. } => None,
            };
            Seen {
                key: *key,
                mac,
                is_permanent: matches!(s, State::Permanent { .. }),
            }
        })
    }

    /// Throws one entry out when the table is full: a failed one, else the one heard longest ago, else any that waits.
    fn make_room(&mut self) {
        if self.entries.len() < CAPACITY {
            return;
        }
        let rank = |s: &State| match s {
            State::Failed { .. } => (0, 0),
            State::Reachable { until_ns, .. } => (1, *until_ns),
            State::Probe { next_ns, .. } => (2, *next_ns),
            State::Incomplete { next_ns, .. } => (3, *next_ns),
            State::Permanent { .. } => (4, 0),
        };
        let worst = self.entries.iter().min_by_key(|(_, s)| rank(s)).map(|(k, _)| *k);
        if let Some(key) = worst {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
