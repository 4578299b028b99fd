//! What is fuzzed: each parser that reads bytes from outside, and what must hold beyond "it does not panic".
//!
//! A target takes any bytes, says whether some of its parsers took them, and panics when a property is broken: what is read is
//! written and read again as the same, a verifier takes nothing that was not signed, sums don't wrap around, limits hold. With the
//! feature `engine` the binary runs one target under libFuzzer (`scripts/fuzz.sh`); without it, the tests here play each target's seeds.
//!
//! [`text`] (tokens, payment requests, moving codes, offers) → [`json`] (what travels between wallet and mint) → [`spending`] (conditions) →
//! [`curve`] (points, proofs, signatures) → [`credential`] (CBOR, mdoc) → [`proximity`] (a reader and a device) → [`signed`] (JOSE, SD-JWT,
//! status lists) → [`messages`] (OpenID4VCI and OpenID4VP) → [`pass`] (tokens of anonymous predicates) → [`relayed`] (what passes through a relay) → [`log`] (notes, tiles) → [`bank`] (statements). Beside them [`planted`], a bug
//! that the engine must find, and [`vectors`], the seeds that were published.

pub mod bank;
pub mod credential;
pub mod curve;
pub mod json;
pub mod log;
pub mod messages;
pub mod pass;
pub mod planted;
pub mod proximity;
pub mod relayed;
pub mod signed;
pub mod spending;
pub mod text;
pub mod vectors;

/// Something to be fuzzed.
pub struct Target {
    /// Its name, on the command line and in the names of files.
    pub name: &'static str,
    /// Plays one input. Whether anything took it.
    pub play: fn(&[u8]) -> bool,
    /// Inputs to begin with; each is one that something takes.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets; the planted bug is not among them.
pub const TARGETS: [Target; 26] = [
    Target { name: "token", play: text::token, seeds: text::token_seeds },
    Target { name: "payment-request", play: text::payment_request, seeds: text::payment_request_seeds },
    Target {
        name: "payment-request-bech32m",
        play: text::payment_request_bech32m,
        seeds: text::payment_request_bech32m_seeds,
    },
    Target { name: "animated", play: text::animated, seeds: text::animated_seeds },
    Target { name: "offer", play: text::offer, seeds: text::offer_seeds },
    Target { name: "mint-request", play: json::mint_request, seeds: json::mint_request_seeds },
    Target { name: "mint-answer", play: json::mint_answer, seeds: json::mint_answer_seeds },
    Target { name: "subscription", play: json::subscription, seeds: json::subscription_seeds },
    Target { name: "condition", play: spending::condition, seeds: spending::condition_seeds },
    Target { name: "lock", play: spending::lock, seeds: spending::lock_seeds },
    Target { name: "curve", play: curve::curve, seeds: curve::curve_seeds },
    Target { name: "mdoc", play: credential::mdoc, seeds: credential::mdoc_seeds },
    Target { name: "proximity", play: proximity::proximity, seeds: proximity::proximity_seeds },
    Target { name: "jose", play: signed::jose, seeds: signed::jose_seeds },
    Target { name: "sdjwt", play: signed::sdjwt, seeds: signed::sdjwt_seeds },
    Target { name: "statuslist", play: signed::statuslist, seeds: signed::statuslist_seeds },
    Target { name: "pass", play: pass::pass, seeds: pass::pass_seeds },
    Target { name: "pass-text", play: pass::pass_text, seeds: pass::pass_text_seeds },
    Target { name: "relayed", play: relayed::relayed, seeds: relayed::relayed_seeds },
    Target { name: "links", play: messages::links, seeds: messages::links_seeds },
    Target { name: "query", play: messages::query, seeds: messages::query_seeds },
    Target { name: "trusted_list", play: messages::trusted_list, seeds: messages::trusted_list_seeds },
    Target { name: "note", play: log::note, seeds: log::note_seeds },
    Target { name: "tile", play: log::tile, seeds: log::tile_seeds },
    Target { name: "log", play: log::log, seeds: log::log_seeds },
    Target { name: "statement", play: bank::statement, seeds: bank::statement_seeds },
];

/// The target of a name, the planted bug included.
pub fn target(name: &str) -> Option<Target> {
    let planted = Target { name: "planted", play: planted::planted, seeds: || vec![b"?".to_vec()] };
    TARGETS.into_iter().chain([planted]).find(|target| target.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seed that nothing takes would lead the engine nowhere.
    #[test]
    fn every_seed_is_taken() {
        for target in TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{} has no seeds", target.name);
            for (number, seed) in seeds.iter().enumerate() {
                assert!((target.play)(seed), "{}: seed {number}: {}", target.name, String::from_utf8_lossy(seed));
            }
        }
    }

    #[test]
    fn rubbish_is_not_taken() {
        for target in TARGETS {
            // Any bytes are a list of edits or choices for these.
            if !["log", "lock"].contains(&target.name) {
                assert!(!(target.play)(b"\xfe rubbish"), "{}", target.name);
            }
            (target.play)(b"");
        }
    }

    #[test]
    fn a_target_is_found_by_its_name() {
        assert!(target("token").is_some() && target("planted").is_some() && target("nonsense").is_none());
    }
}
