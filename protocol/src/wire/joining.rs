//! How anyone becomes a member: orchestrators by adoption, clients by a token.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{PublicKey, SealingKey, TokenId},
    records::TokenTerms,
    sign::Signed,
};

/// First words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The caller's program and version, for people.
    pub agent: String,
}

/// Who the callee is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The callee's program and version, for people.
    pub agent: String,
    /// What it needs to be named in a keyset.
    pub card: NodeCard,
    /// The newest keyset it knows. None until it is adopted.
    pub keyset: Option<Signed>,
}

/// What a node tells of itself so that it can be named in a keyset. Its TLS key
/// is that of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCard {
    /// The key to which secrets are sealed for it.
    pub sealing: SealingKey,
    /// Its voter id.
    pub voter: u64,
}

/// Makes a node an orchestrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// The keyset, signed by the root, that names the node.
    pub keyset: Signed,
    /// The root's public key: from now on the node's cluster is the one of this key.
    pub root: PublicKey,
    /// Whether the log starts here, with all orchestrators of the keyset as voters.
    pub genesis: bool,
}

/// Redeems a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redeem {
    /// A `commands::Redemption`, signed by the token's key.
    pub redemption: Signed,
}

/// Asks for a token's release value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Which token.
    pub token: TokenId,
}

/// What opens a token's welcome, together with the token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseValue {
    /// The release value: 32 random bytes.
    pub value: [u8; 32],
    /// The terms, in which the sealed welcome stands.
    pub terms: TokenTerms,
}

impl std::fmt::Debug for ReleaseValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReleaseValue({:?}, ..)", self.terms.token)
    }
}

/// Says that a welcome was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    /// Which token.
    pub token: TokenId,
}
