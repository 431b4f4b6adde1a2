//! What each role may do: one table, enforced by the agent.

use core::fmt;
use core::str::FromStr;
use minicbor::{Decode, Encode};

use crate::control::RequestBody;
use crate::wire::{AgentBody, Open};

/// What a paired client is trusted with; each role includes the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "camelCase")
)]
#[cbor(index_only)]
pub enum Role {
    /// Looks on.
    #[n(1)]
    Viewer,
    /// Decides approvals, sets modes, runs commands.
    #[n(2)]
    Operator,
    /// Pairs and unpairs, ends, restarts and updates the board.
    #[n(3)]
    Owner,
}

/// A thing that a role may or may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Metrics, events, logs, status.
    Observe,
    /// Approve and reject, set modes and strategies.
    Decide,
    /// Commands on the board.
    Execute,
    /// Power, pairing, updates.
    Administer,
}

impl Role {
    /// Every role, least trusted first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Owner];

    /// Whether this role may do that.
    #[must_use]
    pub const fn allows(self, permission: Permission) -> bool {
        match permission {
            Permission::Observe => true,
            Permission::Decide | Permission::Execute => matches!(self, Self::Operator | Self::Owner),
            Permission::Administer => matches!(self, Self::Owner),
        }
    }

    /// The name, as in links and lists.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Owner => "owner",
        }
    }

    /// The number it travels as.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Viewer => 1,
            Self::Operator => 2,
            Self::Owner => 3,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Text that is no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseRoleError;

impl fmt::Display for ParseRoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a role is viewer, operator or owner")
    }
}

impl core::error::Error for ParseRoleError {}

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or(ParseRoleError)
    }
}

/// What a thing that is asked for needs.
pub trait Guarded {
    /// The permission; `None` when every paired client may (greeting) or when nobody needs it (unknown, refused anyway).
    fn needs(&self) -> Option<Permission>;
}

impl Guarded for Open {
    fn needs(&self) -> Option<Permission> {
        match self {
            Self::Unknown | Self::Hello(_) | Self::Requests | Self::Pair { .. } => None,
            Self::Subscribe { .. } | Self::Metrics => Some(Permission::Observe),
            Self::Exec(_) => Some(Permission::Execute),
            Self::Update { .. } => Some(Permission::Administer),
        }
    }
}

impl Guarded for AgentBody {
    fn needs(&self) -> Option<Permission> {
        match self {
            Self::Unknown => None,
            Self::Control(body) => body.needs(),
            Self::Info | Self::UpdateStatus => Some(Permission::Observe),
            Self::Power(_) | Self::PairedClients | Self::Unpair(_) | Self::NewPairing(_) => {
                Some(Permission::Administer)
            }
        }
    }
}

impl Guarded for RequestBody {
    fn needs(&self) -> Option<Permission> {
        match self {
            Self::Unknown => None,
            Self::Hello(_)
            | Self::Metrics
            | Self::Subscribe { .. }
            | Self::Unsubscribe
            | Self::LogTail { .. }
            | Self::MemStatus
            | Self::MemApprovals
            | Self::MemApprovalMode { on: None }
            | Self::MemQueryMode { on: None }
            | Self::MemHistory { .. }
            | Self::AutonomyStatus => Some(Permission::Observe),
            Self::MemApprovalMode { on: Some(_) }
            | Self::MemQueryMode { on: Some(_) }
            | Self::MemApprove { .. }
            | Self::MemReject { .. }
            | Self::MemSetStrategy { .. }
            | Self::SelfCheck => Some(Permission::Decide),
            Self::RestartArgument { .. } => Some(Permission::Administer),
        }
    }
}

/// Whether `role` may have `wanted`, else the permission that is missing.
///
/// # Errors
/// The permission that the role does not have.
pub fn required(role: Role, wanted: &impl Guarded) -> Result<(), Permission> {
    match wanted.needs() {
        Some(permission) if !role.allows(permission) => Err(permission),
        _ => Ok(()),
    }
}
