//! What a session says: its state, what it delivers, and what it wants done.

use sis_protocol::control::{Event, Failure};
use sis_protocol::wire::{CloseCode, Cursor, Sample, Welcome};

#[expect(unused_imports, reason = "linked to from documentation")]
use super::Session;

/// One subscription, for the life of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub(super) u64);

/// One stream; never used again, not even on another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub(super) u64);

/// What the link to the board is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// On the way.
    Connecting {
        /// From 1; counts since the board was last online.
        attempt: u32,
    },
    /// Connected and greeted.
    Online(Box<Welcome>),
    /// Lost or not reached; tried again by itself.
    Waiting {
        /// When, milliseconds from the change to this state.
        retry_in_ms: u64,
        /// What happened.
        reason: String,
    },
    /// The board does not want this client; not tried again.
    Refused {
        /// The board's sentence.
        reason: String,
    },
}

/// Why a connection ended or did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// The application error code, when the board closed it.
    pub code: Option<u64>,
    /// For people.
    pub reason: String,
}

/// What the shell around the session has to do, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect, and answer with [`Session::on_connected`] or [`Session::on_disconnected`].
    Connect,
    /// Close the connection; nothing of it is to be reported any more.
    Disconnect(CloseCode),
    /// Open a bidirectional stream, write these bytes and report what comes.
    OpenStream {
        /// Its name from now on.
        stream: StreamId,
        /// What it carries, when it is a subscription's: so that the shell can stop reading for a slow reader.
        subscription: Option<SubscriptionId>,
        /// The first bytes.
        bytes: Vec<u8>,
    },
    /// Reset a stream; nothing of it is to be reported any more.
    CloseStream(StreamId),
    /// The link changed.
    State(LinkState),
    /// The next event of a subscription.
    Event {
        /// Whose.
        subscription: SubscriptionId,
        /// Where the subscription stands after this event.
        cursor: Cursor,
        /// The event.
        event: Box<Event>,
    },
    /// Delivery goes on, after `cursor`; `head_seq` is the newest number now.
    Started {
        /// Whose.
        subscription: SubscriptionId,
        /// Where it stands.
        cursor: Cursor,
        /// The newest sequence number on the board.
        head_seq: u64,
    },
    /// Events are missing: take the state afresh, then go on with what follows.
    Bootstrap {
        /// Whose.
        subscription: SubscriptionId,
        /// How many are missing; absent when the board's log has begun a new life.
        missed: Option<u64>,
        /// Where it goes on.
        cursor: Cursor,
    },
    /// The board refuses the subscription; it is over.
    SubscriptionRefused {
        /// Whose.
        subscription: SubscriptionId,
        /// Why.
        failure: Failure,
    },
    /// A metrics sample.
    Sample(Box<Sample>),
}
