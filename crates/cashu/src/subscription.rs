//! Subscriptions (NUT-17): what a wallet sends over the WebSocket, JSON-RPC 2.0. What the mint sends back is the mint's.

use serde::Deserialize;
use serde_json::Value;

use crate::Point;

/// Things that one subscription may watch: as many as one state check may name.
pub const FILTERS_MAX: usize = 1_000;
/// The longest id of a subscription, a request or a quote that is read; a UUID has 36.
pub const ID_MAX_LEN: usize = 128;

/// JSON-RPC: this is not JSON.
const PARSE: i64 = -32_700;
/// JSON-RPC: this is not a request.
const NO_REQUEST: i64 = -32_600;
/// JSON-RPC: there is no such method.
const NO_METHOD: i64 = -32_601;
/// JSON-RPC: the method takes other parameters.
pub const BAD_PARAMS: i64 = -32_602;

/// A request that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What the answer repeats, so that the wallet knows what is answered: a whole number, a text or `null`.
    pub id: Value,
    /// What is asked.
    pub command: Command,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// To be told of the state of something, now and whenever it changes.
    Subscribe {
        /// The subscription's id, which the wallet chose.
        sub_id: String,
        /// What is watched.
        watch: Watch,
    },
    /// To be told no more.
    Unsubscribe {
        /// The subscription's id.
        sub_id: String,
    },
}

/// What a subscription watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watch {
    /// `proof_state`: tokens, by their `Y`.
    Proofs(Vec<Point>),
    /// `<method>_mint_quote`: quotes of a method, by their ids.
    MintQuotes {
        /// The method.
        method: String,
        /// The quotes.
        ids: Vec<String>,
    },
    /// `<method>_melt_quote`.
    MeltQuotes {
        /// The method.
        method: String,
        /// The quotes.
        ids: Vec<String>,
    },
}

/// A message that can't be carried out, as JSON-RPC tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The request's id, `null` where it can't be read.
    pub id: Value,
    /// JSON-RPC's number.
    pub code: i64,
    /// A sentence for people.
    pub message: &'static str,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    id: Value,
    method: String,
    #[serde(default)]
    params: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscribe {
    kind: String,
    filters: Vec<String>,
    sub_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unsubscribe {
    sub_id: String,
}

impl Request {
    /// Reads a message.
    ///
    /// # Errors
    /// What is to be answered when it is not as NUT-17 says, names a kind that NUT-17 has no form for, or is too long.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let refusal = |code, message| Refusal { id: Value::Null, code, message };
        let json: Value = serde_json::from_str(text).map_err(|_| refusal(PARSE, "this is not JSON"))?;
        let Ok(Envelope { id, method, params }) = serde_json::from_value(json) else {
            return Err(refusal(NO_REQUEST, "this is not a JSON-RPC request: it takes id, method and params"));
        };
        // It is sent back, so it is held to what JSON-RPC says it may be.
        // A fraction, or a number past 64 bits, would come back as another.
        let whole = id.is_u64() || id.is_i64();
        if !(whole || id.is_null() || id.as_str().is_some_and(|text| text.len() <= ID_MAX_LEN)) {
            return Err(refusal(
                NO_REQUEST,
                "an id is a whole number of 64 bits, a text of at most 128 bytes, or null",
            ));
        }
        match command(&method, params) {
            Ok(command) => Ok(Request { id, command }),
            Err((code, message)) => Err(Refusal { id, code, message }),
        }
    }
}

fn command(method: &str, params: Value) -> Result<Command, (i64, &'static str)> {
    match method {
        "subscribe" => {
            let Ok(Subscribe { kind, filters, sub_id }) = serde_json::from_value(params) else {
                return Err((BAD_PARAMS, "subscribe takes kind, filters and subId"));
            };
            if sub_id.len() > ID_MAX_LEN || filters.len() > FILTERS_MAX {
                return Err((BAD_PARAMS, "a subId has at most 128 bytes, and a subscription at most 1000 filters"));
            }
            let watch =
                watch(&kind, filters).ok_or((BAD_PARAMS, "there is no such kind, or a filter can't be read"))?;
            Ok(Command::Subscribe { sub_id, watch })
        }
        "unsubscribe" => match serde_json::from_value(params) {
            Ok(Unsubscribe { sub_id }) if sub_id.len() <= ID_MAX_LEN => Ok(Command::Unsubscribe { sub_id }),
            _ => Err((BAD_PARAMS, "unsubscribe takes a subId of at most 128 bytes")),
        },
        _ => Err((NO_METHOD, "the methods are subscribe and unsubscribe")),
    }
}

fn watch(kind: &str, filters: Vec<String>) -> Option<Watch> {
    if kind == "proof_state" {
        return filters.iter().map(|y| y.parse().ok()).collect::<Option<_>>().map(Watch::Proofs);
    }
    if filters.iter().any(|id| id.len() > ID_MAX_LEN) {
        return None;
    }
    if let Some(method) = kind.strip_suffix("_mint_quote") {
        Some(Watch::MintQuotes { method: method.to_owned(), ids: filters })
    } else {
        kind.strip_suffix("_melt_quote").map(|method| Watch::MeltQuotes { method: method.to_owned(), ids: filters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> i64 {
        Request::parse(text).unwrap_err().code
    }

    #[test]
    fn requests_are_read_strictly() {
        let subscribe =
            r#"{"jsonrpc":"2.0","id":7,"method":"subscribe","params":{"kind":"KIND","filters":["q-1"],"subId":"s"}}"#;
        let ids = vec!["q-1".to_owned()];
        let read = Request::parse(&subscribe.replace("KIND", "bolt11_mint_quote")).unwrap();
        let watch = Watch::MintQuotes { method: "bolt11".into(), ids };
        assert_eq!(read, Request { id: 7.into(), command: Command::Subscribe { sub_id: "s".into(), watch } });
        assert_eq!(code(&subscribe.replace("KIND", "proof_state")), BAD_PARAMS, "q-1 is no point");
        assert_eq!(code(&subscribe.replace("KIND", "weather")), BAD_PARAMS);
        assert_eq!(code(&subscribe.replace("KIND", "a_mint_quote").replace("q-1", &"x".repeat(129))), BAD_PARAMS);
        assert_eq!(code(&subscribe.replace("subscribe", "delete")), NO_METHOD);
        assert_eq!(code(&subscribe.replace(":7,", ":[7],")), NO_REQUEST);
        // Found by the fuzzer: the answer said 2.2222222244444442e22.
        assert_eq!(code(&subscribe.replace(":7,", ":22222222244444444444442,")), NO_REQUEST);
        assert_eq!(code(&subscribe.replace(":7,", ":7.5,")), NO_REQUEST);
        assert_eq!(code(&subscribe.replace(":7,", &format!(":\"{}\",", "x".repeat(129)))), NO_REQUEST);
        assert_eq!(code("[]"), NO_REQUEST);
        assert_eq!(code("nonsense"), PARSE);
        assert_eq!(code(&"[".repeat(100_000)), PARSE);
        let many: Vec<String> = vec!["q".into(); FILTERS_MAX + 1];
        let many = serde_json::json!({"id": "a", "method": "subscribe", "params": {"kind": "a_melt_quote", "filters": many, "subId": "s"}});
        let refused = Request::parse(&many.to_string()).unwrap_err();
        assert_eq!((refused.id, refused.code), ("a".into(), BAD_PARAMS));
    }
}
