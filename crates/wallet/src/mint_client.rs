//! The mint's endpoints as functions (NUT-01 to 09). Each call is one request on a connection of its own.

use cashu::messages::{
    CheckStateRequest, CheckStateResponse, KeysResponse, KeysetsResponse, MeltQuoteRequest, MeltQuoteResponse,
    MeltRequest, MintRequest, ProofState, RestoreRequest, RestoreResponse, SignaturesResponse, SwapRequest,
};
use cashu::{BlindSignature, BlindedMessage, ErrorCode, KeysetId, Point};

use crate::http::{HttpError, Way};
use crate::state::Services;

/// The mint at an address, and the way to it.
pub struct MintClient<'a> {
    base: &'a str,
    way: Way<'a>,
}

impl<'a> MintClient<'a> {
    /// The mint of these services.
    pub fn of(services: &'a Services) -> Self {
        MintClient { base: services.mint.trim_end_matches('/'), way: Way::to(services) }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.base)
    }

    /// All keysets, without keys.
    pub fn keysets(&self) -> Result<KeysetsResponse, HttpError> {
        self.way.get(&self.url("keysets"))
    }

    /// The keys of one keyset.
    pub fn keys(&self, id: &KeysetId) -> Result<KeysResponse, HttpError> {
        self.way.get(&self.url(&format!("keys/{id}")))
    }

    /// Whether the mint says that it keeps a feature (NUT-06): a mint that knows no locks takes a locked token from anybody.
    pub fn supports(&self, nut: &str) -> Result<bool, HttpError> {
        let info: serde_json::Value = self.way.get(&self.url("info"))?;
        Ok(info["nuts"][nut]["supported"] == true)
    }

    /// Exchanges tokens.
    pub fn swap(&self, request: &SwapRequest) -> Result<Vec<BlindSignature>, HttpError> {
        self.way.post::<SignaturesResponse>(&self.url("swap"), request).map(|answer| answer.signatures)
    }

    /// Mints tokens against an entitlement.
    pub fn mint_entitlement(&self, request: &MintRequest) -> Result<Vec<BlindSignature>, HttpError> {
        self.way.post::<SignaturesResponse>(&self.url("mint/entitlement"), request).map(|answer| answer.signatures)
    }

    /// Asks what it takes to redeem into a merchant's balance.
    pub fn settlement_quote(&self, request: &MeltQuoteRequest) -> Result<MeltQuoteResponse, HttpError> {
        self.way.post(&self.url("melt/quote/settlement"), request)
    }

    /// Where a redemption stands.
    pub fn settlement_state(&self, quote: &str) -> Result<MeltQuoteResponse, HttpError> {
        self.way.get(&self.url(&format!("melt/quote/settlement/{quote}")))
    }

    /// Redeems tokens.
    pub fn settle(&self, request: &MeltRequest) -> Result<MeltQuoteResponse, HttpError> {
        self.way.post(&self.url("melt/settlement"), request)
    }

    /// The signature that the mint once gave for one output, if it did. One output a request: several would tell
    /// the mint that they lie in one wallet.
    pub fn restore_one(&self, output: BlindedMessage) -> Result<Option<BlindSignature>, HttpError> {
        let request = RestoreRequest { outputs: vec![output] };
        self.way
            .post::<RestoreResponse>(&self.url("restore"), &request)
            .map(|answer| answer.signatures.into_iter().next())
    }

    /// Whether one token is spent. One token a request, for the same reason.
    pub fn state_of(&self, y: Point) -> Result<Option<ProofState>, HttpError> {
        let request = CheckStateRequest { ys: vec![y] };
        self.way
            .post::<CheckStateResponse>(&self.url("checkstate"), &request)
            .map(|answer| answer.states.first().map(|entry| entry.state))
    }
}

/// The protocol's code of a refusal, where it has one.
pub fn code_of(error: &HttpError) -> Option<ErrorCode> {
    match error {
        HttpError::Refused { code: Some(code), .. } => ErrorCode::from_number(*code),
        _ => None,
    }
}
