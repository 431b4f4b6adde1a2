//! Pairing: the code that a board shows out of band, and what each role may do.
//!
//! A board shows a [`PairLink`] (as text, or as a QR code of the same text) on its console. It names where the board is, the hash of
//! its public key, and a one-time token. The client connects, checks the key against the hash, and sends the token over the connection
//! that this authenticates; the board then keeps the client's key with the token's role.

mod key;
mod link;
mod role;

#[cfg(test)]
mod tests;

pub use key::{KeyHash, ParseKeyError};
pub use link::{PairLink, ParseLinkError, TOKEN_BYTES};
pub use role::{Permission, Role, required};
