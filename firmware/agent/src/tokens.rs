//! One-time pairing tokens: who knows one may add a key, once, within ten minutes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sis_protocol::pairing::{Role, TOKEN_BYTES};

/// How long a token is good.
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);
/// So many tokens at once; the oldest lapses early.
const MAX_TOKENS: usize = 8;
/// So many wrong tokens an address may show in [`WINDOW`].
const MAX_FAILURES: u32 = 5;
/// So many wrong tokens all addresses may show in [`WINDOW`].
const MAX_FAILURES_IN_ALL: u32 = 60;
const WINDOW: Duration = Duration::from_secs(60);

/// Why a token was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RedeemError {
    #[error("the pairing code is wrong, was used before, or has expired: ask the board for a new one")]
    NotGood,
    #[error("too many wrong pairing codes: wait a minute")]
    TooManyAttempts,
}

struct Token {
    bytes: [u8; TOKEN_BYTES],
    role: Role,
    expires: Instant,
}

/// The tokens that are out, and who has guessed wrong.
#[derive(Default)]
pub(crate) struct Tokens {
    tokens: Vec<Token>,
    window_began: Option<Instant>,
    failures: HashMap<IpAddr, u32>,
    failures_in_all: u32,
}

impl Tokens {
    /// Puts out a token.
    pub(crate) fn add(&mut self, bytes: [u8; TOKEN_BYTES], role: Role, now: Instant) {
        self.tokens.retain(|token| token.expires > now);
        if self.tokens.len() == MAX_TOKENS {
            self.tokens.remove(0);
        }
        self.tokens.push(Token {
            bytes,
            role,
            expires: now + LIFETIME,
        });
    }

    /// How many are out.
    pub(crate) fn count(&self, now: Instant) -> usize {
        self.tokens.iter().filter(|token| token.expires > now).count()
    }

    /// Takes a token back for its role; it is gone afterwards.
    pub(crate) fn redeem(&mut self, shown: &[u8], from: IpAddr, now: Instant) -> Result<Role, RedeemError> {
        if self
            .window_began
            .is_none_or(|began| now.saturating_duration_since(began) >= WINDOW)
        {
            self.window_began = Some(now);
            self.failures.clear();
            self.failures_in_all = 0;
        }
        // The map cannot outgrow the failures it counts.
        let failures = self.failures.get(&from).copied().unwrap_or(0);
        if failures >= MAX_FAILURES || self.failures_in_all >= MAX_FAILURES_IN_ALL {
            return Err(RedeemError::TooManyAttempts);
        }
        self.tokens.retain(|token| token.expires > now);
        let mut found = None;
        for (index, token) in self.tokens.iter().enumerate() {
            if is_equal(&token.bytes, shown) {
                found = Some(index);
            }
        }
        if let Some(index) = found {
            return Ok(self.tokens.remove(index).role);
        }
        self.failures_in_all += 1;
        self.failures.insert(from, failures + 1);
        Err(RedeemError::NotGood)
    }
}

/// Takes the same time whatever is in `shown`; only its length shows.
fn is_equal(token: &[u8; TOKEN_BYTES], shown: &[u8]) -> bool {
    if shown.len() != TOKEN_BYTES {
        return false;
    }
    let difference = token
        .iter()
        .zip(shown)
        .fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b)));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn elsewhere(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn is_good_once() {
        let (mut tokens, now) = (Tokens::default(), Instant::now());
        tokens.add([7; 16], Role::Operator, now);
        assert_eq!(tokens.redeem(&[7; 16], HERE, now), Ok(Role::Operator));
        assert_eq!(tokens.redeem(&[7; 16], HERE, now), Err(RedeemError::NotGood));
    }

    #[test]
    fn expires() {
        let (mut tokens, now) = (Tokens::default(), Instant::now());
        tokens.add([7; 16], Role::Owner, now);
        assert_eq!(tokens.count(now), 1);
        assert_eq!(tokens.redeem(&[7; 16], HERE, now + LIFETIME), Err(RedeemError::NotGood));
        assert_eq!(tokens.count(now + LIFETIME), 0);
    }

    #[test]
    fn wrong_ones_are_counted_by_address_and_in_all() {
        let (mut tokens, now) = (Tokens::default(), Instant::now());
        tokens.add([7; 16], Role::Owner, now);
        for _ in 0..MAX_FAILURES {
            assert_eq!(tokens.redeem(&[8; 16], HERE, now), Err(RedeemError::NotGood));
        }
        assert_eq!(tokens.redeem(&[7; 16], HERE, now), Err(RedeemError::TooManyAttempts));
        assert_eq!(tokens.redeem(&[7; 16], elsewhere(1), now), Ok(Role::Owner));
        for n in 0..60 {
            let _ = tokens.redeem(&[], elsewhere(n), now);
        }
        assert_eq!(
            tokens.redeem(&[], elsewhere(99), now),
            Err(RedeemError::TooManyAttempts)
        );
        assert_eq!(
            tokens.redeem(&[], elsewhere(99), now + WINDOW),
            Err(RedeemError::NotGood)
        );
    }

    #[test]
    fn so_many_at_once() {
        let (mut tokens, now) = (Tokens::default(), Instant::now());
        for n in 0..9 {
            tokens.add([n; 16], Role::Viewer, now);
        }
        assert_eq!(tokens.count(now), MAX_TOKENS);
        assert_eq!(tokens.redeem(&[0; 16], HERE, now), Err(RedeemError::NotGood));
        assert_eq!(tokens.redeem(&[1; 16], HERE, now), Ok(Role::Viewer));
    }
}
