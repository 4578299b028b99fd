//! Subscriptions over a WebSocket (NUT-17): JSON-RPC in, the current state at once, and again whenever it changes.
//!
//! For tills and for wallets of other makers. A subscription shows the mint which tokens one wallet watches, so ours has none.

use std::collections::HashMap;

use axum::extract::ws::{Message, WebSocket};
use cashu::Point;
use cashu::messages::CheckStateRequest;
use cashu::subscription::{BAD_PARAMS, Command, Request, Watch};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::changes::Changed;
use crate::store::Method;
use crate::{Mint, MintError};

/// Subscriptions of one connection.
const SUBSCRIPTIONS_MAX: usize = 64;
/// The longest message that is read: a thousand points.
pub const MESSAGE_MAX_LEN: usize = 128 * 1024;
/// One thing that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Watched {
    MintQuote(Method, String),
    MeltQuote(String),
    Proof(Point),
}

/// Serves one connection until the other side closes it.
pub async fn serve(mut socket: WebSocket, mint: Mint) {
    let mut changes = mint.changes().listen();
    let mut watching: HashMap<String, Vec<Watched>> = HashMap::new();
    loop {
        let answers = tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => answer(&mint, &mut watching, &text).await,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => Vec::new(),
            },
            changed = changes.recv() => match changed {
                Ok(changed) => notifications(&mint, &watching, |watched| changed.iter().any(|c| is_about(c, watched))).await,
                // Too slow to hear all: the state as it is now.
                Err(RecvError::Lagged(_)) => notifications(&mint, &watching, |_| true).await,
                Err(RecvError::Closed) => return,
            },
        };
        for answer in answers {
            if socket.send(Message::Text(answer.to_string().into())).await.is_err() {
                return;
            }
        }
    }
}

/// The answer to a request, followed by the current state of what was subscribed to.
async fn answer(mint: &Mint, watching: &mut HashMap<String, Vec<Watched>>, text: &str) -> Vec<Value> {
    let Request { id, command } = match Request::parse(text) {
        Ok(request) => request,
        Err(refusal) => return vec![error(&refusal.id, refusal.code, refusal.message)],
    };
    match command {
        Command::Subscribe { sub_id, watch } => {
            let Some(watched) = watched_by(watch) else {
                return vec![error(&id, BAD_PARAMS, "this mint has no such method")];
            };
            if watching.len() >= SUBSCRIPTIONS_MAX || watching.contains_key(&sub_id) {
                return vec![error(&id, BAD_PARAMS, "too many subscriptions, or this subId is in use")];
            }
            watching.insert(sub_id.clone(), watched.clone());
            let mut answers = vec![accepted(&id, &sub_id)];
            let only = HashMap::from([(sub_id, watched)]);
            answers.extend(notifications(mint, &only, |_| true).await);
            answers
        }
        Command::Unsubscribe { sub_id } if watching.remove(&sub_id).is_some() => vec![accepted(&id, &sub_id)],
        Command::Unsubscribe { .. } => vec![error(&id, BAD_PARAMS, "there is no such subscription")],
    }
}

fn watched_by(watch: Watch) -> Option<Vec<Watched>> {
    let quotes = |method, ids: Vec<String>| ids.into_iter().map(|id| Watched::MintQuote(method, id)).collect();
    match watch {
        Watch::Proofs(ys) => Some(ys.into_iter().map(Watched::Proof).collect()),
        Watch::MintQuotes { method, ids } => match method.as_str() {
            "entitlement" => Some(quotes(Method::Entitlement, ids)),
            "sandbox" => Some(quotes(Method::Sandbox, ids)),
            _ => None,
        },
        Watch::MeltQuotes { method, ids } => {
            (method == "settlement").then(|| ids.into_iter().map(Watched::MeltQuote).collect())
        }
    }
}

fn is_about(changed: &Changed, watched: &Watched) -> bool {
    match (changed, watched) {
        (Changed::MintQuote(id), Watched::MintQuote(_, other))
        | (Changed::MeltQuote(id), Watched::MeltQuote(other)) => id == other,
        (Changed::Spent(y), Watched::Proof(other)) => y == other,
        _ => false,
    }
}

/// The current state of all that is watched and `wanted`.
async fn notifications(
    mint: &Mint,
    watching: &HashMap<String, Vec<Watched>>,
    wanted: impl Fn(&Watched) -> bool,
) -> Vec<Value> {
    let ask: Vec<(String, Watched)> = watching
        .iter()
        .flat_map(|(id, watched)| watched.iter().map(move |watched| (id.clone(), watched.clone())))
        .filter(|(_, watched)| wanted(watched))
        .collect();
    if ask.is_empty() {
        return Vec::new();
    }
    let mint = mint.clone();
    let states = move || -> Vec<Value> {
        let state = |(id, watched)| {
            let payload = state_of(&mint, &watched).ok()?;
            Some(json!({"jsonrpc": "2.0", "method": "subscribe", "params": {"subId": id, "payload": payload}}))
        };
        ask.into_iter().filter_map(state).collect()
    };
    tokio::task::spawn_blocking(states).await.unwrap_or_default()
}

fn state_of(mint: &Mint, watched: &Watched) -> Result<Value, MintError> {
    let state = match watched {
        Watched::MintQuote(method, id) => serde_json::to_value(mint.mint_quote(*method, id)?),
        Watched::MeltQuote(id) => serde_json::to_value(mint.melt_quote(id)?),
        Watched::Proof(y) => serde_json::to_value(mint.check_state(&CheckStateRequest { ys: vec![*y] })?.remove(0)),
    };
    Ok(state.unwrap_or_default())
}

fn accepted(id: &Value, sub_id: &str) -> Value {
    json!({"jsonrpc": "2.0", "result": {"status": "OK", "subId": sub_id}, "id": id})
}

fn error(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": id})
}
