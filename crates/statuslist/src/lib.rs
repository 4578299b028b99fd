//! Token Status Lists (draft-ietf-oauth-status-list): whether credentials are still good, many in one signed list of bits, so that who
//! fetches it does not say which one it is about.
//!
//! In scope: the list, its compression, the token around it as JWT and as CWT, the reference that a credential carries. Out of scope:
//! fetching and caching, which key is trusted (the caller's closure says), lists of lists.
//!
//! [`Reference`] (in the credential) → [`StatusList`] → [`StatusList::to_jwt`] and [`StatusList::to_cwt`] → [`verify_jwt`] and
//! [`verify_cwt`].

mod cwt;
mod error;
mod jwt;
mod list;
mod reference;
mod token;

pub use cwt::{CWT_MAX_LEN, CWT_TYP, verify_cwt};
pub use error::StatusListError;
pub use jwt::{JWT_MAX_LEN, JWT_TYP, verify_jwt};
pub use list::{LIST_MAX_LEN, Status, StatusList};
pub use reference::Reference;
pub use token::{Issuing, StatusListToken};
