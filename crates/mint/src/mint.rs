//! The mint as a handle: one method an act. Methods block (arithmetic, then the wait for the commit): call them off the async threads.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};

use cashu::keyset::KeysetInfo;
use cashu::messages::{
    CheckStateRequest, MeltQuoteRequest, MeltQuoteResponse, MeltQuoteState, MeltRequest, MintBatchRequest,
    MintQuoteRequest, MintQuoteResponse, MintQuoteState, MintRequest, ProofState, ProofStateEntry, RestoreRequest,
    RestoreResponse, SwapRequest,
};
use cashu::{Amount, BlindSignature, ErrorCode, Keyset, KeysetId, Point, Unit, quote};

use crate::changes::Changes;
use crate::engine::committer::Committer;
use crate::engine::pool::{Pool, Work, Worked};
use crate::keysets::{ClosedKeyset, KeysetRecord, KeysetTable, MintSeed, Quarter, SigningKeyset};
use crate::metrics::Metrics;
use crate::rules::{self, BATCH_MAX, LOOKUPS_MAX, Passed};
use crate::store::lsm::LsmStore;
use crate::store::postgres::PostgresStore;
use crate::store::{Change, MeltQuote, Method, MintQuote, Outcome, Row, Store, Table};
use crate::{
    Clock, EntitlementQuote, KeysetLog, MintError, MintEvent, Options, PublishedClosing, PublishedKeyset, SANDBOX_UNIT,
    SettlementDirectory,
};

/// How long a merchant has to redeem against a quote.
const MELT_QUOTE_SECONDS: u64 = 3_600;

/// How long after its expiry a keyset is closed: no request that was checked before the expiry is under way any more, and no clock
/// of the mint's machines is so far behind.
const CLOSED_AFTER_SECONDS: u64 = 24 * 3_600;
/// How long after the closing the rows go: by then every process of the mint has read that it is closed.
const DROPPED_AFTER_SECONDS: u64 = 24 * 3_600;

/// The mint; clones are handles to the same one.
#[derive(Clone)]
pub struct Mint {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    pool: Pool,
    committer: Committer,
    changes: Changes,
    metrics: Arc<Metrics>,
    options: Options,
    seed: MintSeed,
    keysets: RwLock<KeysetTable>,
    /// Held while a keyset is made, so that one unit and quarter gets one.
    making_keyset: Mutex<()>,
    /// Closed keysets whose rows are known to be gone.
    dropped: Mutex<HashSet<u16>>,
    log: Arc<dyn KeysetLog>,
    merchants: Arc<dyn SettlementDirectory>,
    clock: Arc<dyn Clock>,
}

impl Mint {
    /// Opens the mint in a folder, or makes one with a fresh seed.
    ///
    /// # Errors
    /// When the folder can't be used or the store is damaged.
    pub fn open(
        folder: &Path,
        log: Arc<dyn KeysetLog>,
        merchants: Arc<dyn SettlementDirectory>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Self, MintError> {
        let name = folder.display().to_string();
        let failed = |error: std::io::Error| MintError::Store { folder: name.clone(), detail: error.to_string() };
        // A token first: while it can't be used, the folder stays as new as it is.
        if options.key.is_none() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let seed = MintSeed::of(folder, options.key.as_ref())?;
        std::fs::create_dir_all(folder).map_err(failed)?;
        let store: Arc<dyn Store> = match &options.postgres {
            None => Arc::new(LsmStore::open(&folder.join("store"), &seed)?),
            Some(address) => Arc::new(PostgresStore::open(address, &seed)?),
        };
        let keysets = KeysetTable::default().of_records(&seed, store.keysets()?)?.with_closed(store.closed()?);
        let changes = Changes::default();
        let metrics = Arc::new(Metrics::default());
        let pool = Pool::start(&metrics).map_err(failed)?;
        let committer = Committer::start(store.clone(), changes.clone(), metrics.clone()).map_err(failed)?;
        let inner = Inner {
            store,
            pool,
            committer,
            changes,
            metrics,
            options,
            seed,
            keysets: RwLock::new(keysets),
            making_keyset: Mutex::default(),
            dropped: Mutex::default(),
            log,
            merchants,
            clock,
        };
        let mint = Mint { inner: Arc::new(inner) };
        if mint.inner.options.sandbox {
            mint.ensure_keyset(&SANDBOX_UNIT.parse().expect("a unit"))?;
        }
        Ok(mint)
    }

    /// How it is run.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Tells what commits change.
    pub fn changes(&self) -> &Changes {
        &self.inner.changes
    }

    /// Finishes what waits and stops.
    pub fn close(&self) {
        self.inner.pool.close();
        self.inner.committer.close();
    }

    /// Counts what it does.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    fn table(&self) -> KeysetTable {
        self.inner.keysets.read().expect("no holder of this lock panics").clone()
    }

    fn now(&self) -> u64 {
        self.inner.clock.unix_now()
    }

    /// The store, for tests that look at rows or play a thief.
    #[doc(hidden)]
    pub fn rows(&self) -> Arc<dyn Store> {
        self.inner.store.clone()
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.inner.store
    }

    pub(crate) fn seed(&self) -> &MintSeed {
        &self.inner.seed
    }

    pub(crate) fn unix_now(&self) -> u64 {
        self.now()
    }

    pub(crate) fn keyset_table(&self) -> KeysetTable {
        self.table()
    }

    /// The keyset that a unit is signed with now, made and announced where there is none for this quarter yet.
    ///
    /// # Errors
    /// When its keys can't be derived; then it is not announced. When it can't be announced or stored; then it is not used.
    /// [`ErrorCode::KeysetExpired`] when it is closed already.
    pub fn ensure_keyset(&self, unit: &Unit) -> Result<KeysetId, MintError> {
        let now = self.now();
        if let Some(keyset) = self.table().active(unit, now) {
            return Ok(keyset.public.id);
        }
        let making = self.inner.making_keyset.lock().expect("no holder of this lock panics");
        let table = self.table();
        if let Some(keyset) = table.active(unit, now) {
            return Ok(keyset.public.id);
        }
        let quarter = Quarter::of(now);
        // Its keys would be those of one that is closed: the clock was put back.
        if table.iter().any(|keyset| keyset.record.unit == *unit && keyset.record.quarter == quarter) {
            return Err(ErrorCode::KeysetExpired.into());
        }
        let number = table.next_number().ok_or_else(|| MintError::Log("there are too many keysets".into()))?;
        let mut record = KeysetRecord {
            number,
            unit: unit.clone(),
            quarter,
            input_fee_ppk: self.inner.options.input_fee_ppk,
            log_index: 0,
        };
        let mut keyset = SigningKeyset::derive(&self.inner.seed, record.clone())?;
        let public = &keyset.public;
        let published = PublishedKeyset {
            id: public.id,
            unit: unit.clone(),
            input_fee_ppk: public.input_fee_ppk,
            final_expiry: public.final_expiry.unwrap_or_default(),
            keys_sha256: public.keys_digest(),
            at: now,
        };
        record.log_index = self.inner.log.publish(&published).map_err(MintError::Log)?;
        if self.commit(Change::keyset(&record))?.is_err() {
            drop(making);
            // Another process of this mint has made a keyset meanwhile: its number is taken, and it may be this very one.
            self.reload_keysets()?;
            return self.ensure_keyset(unit);
        }
        keyset.record = record;
        let id = keyset.public.id;
        *self.inner.keysets.write().expect("no holder of this lock panics") = table.with(keyset);
        Ok(id)
    }

    /// Does what the calendar asks for: a keyset for a quarter that has begun, the end of keysets that are over. Call it now and then;
    /// several processes may. Gives the ids of the keysets that it closed.
    ///
    /// # Errors
    /// When the log or the store can't be written, or rows of a keyset that is over were changed on disk: then it stays open.
    pub fn follow_calendar(&self) -> Result<Vec<KeysetId>, MintError> {
        if self.is_shared() {
            self.reload_keysets()?;
        }
        for unit in self.table().units() {
            self.ensure_keyset(&unit)?;
        }
        let now = self.now();
        let table = self.table();
        let mut ended = Vec::new();
        for keyset in table.iter() {
            match (keyset.public.final_expiry, table.closed(keyset.record.number)) {
                (Some(expiry), None) if now >= expiry + CLOSED_AFTER_SECONDS => {
                    self.close_keyset(keyset)?;
                    ended.push(keyset.public.id);
                }
                (_, Some(closed)) if now >= closed.at + DROPPED_AFTER_SECONDS => self.drop_keyset(closed.number)?,
                _ => {}
            }
        }
        Ok(ended)
    }

    /// Publishes what a keyset came to, and closes it for good.
    fn close_keyset(&self, keyset: &SigningKeyset) -> Result<(), MintError> {
        let number = keyset.record.number;
        let (signed_minor, spent_minor) = self.store().sums_of(number)?.ok_or_else(|| MintError::Store {
            folder: "the mint".into(),
            detail: format!(
                "keyset {} is over and is not closed, since rows were changed on disk: run `habeas audit`",
                keyset.public.id
            ),
        })?;
        let (id, unit, at) = (keyset.public.id, keyset.record.unit.clone(), self.now());
        let published = PublishedClosing { id, unit, signed_minor, spent_minor, at };
        let log_index = self.inner.log.publish_closed(&published).map_err(MintError::Log)?;
        let closed = ClosedKeyset { number, signed_minor, spent_minor, log_index, at };
        // Refused when another process has closed it meanwhile, which is as good.
        let _ = self.commit(Change::closed(keyset, &closed))?;
        self.reload_keysets()
    }

    /// Removes the rows of a closed keyset's tokens, once a process.
    fn drop_keyset(&self, number: u16) -> Result<(), MintError> {
        let mut dropped = self.inner.dropped.lock().expect("no holder of this lock panics");
        if !dropped.contains(&number) {
            let count = self.store().drop_tokens(number)?;
            tracing::info!(keyset = number, count, "the rows of a closed keyset's tokens are gone");
            dropped.insert(number);
        }
        Ok(())
    }

    /// Reads the keysets again: another process may have made one.
    fn reload_keysets(&self) -> Result<(), MintError> {
        let keysets =
            self.table().of_records(&self.inner.seed, self.store().keysets()?)?.with_closed(self.store().closed()?);
        *self.inner.keysets.write().expect("no holder of this lock panics") = keysets;
        Ok(())
    }

    /// Whether other processes work on the same rows.
    fn is_shared(&self) -> bool {
        self.inner.options.postgres.is_some()
    }

    /// Does something that needs a keyset; once more if another process may have made it meanwhile.
    fn with_keysets<T>(&self, act: impl Fn() -> Result<T, MintError>) -> Result<T, MintError> {
        match act() {
            Err(MintError::Refused(ErrorCode::KeysetUnknown)) if self.is_shared() => {
                self.reload_keysets()?;
                act()
            }
            result => result,
        }
    }

    /// All keysets (NUT-02). A quarter that has begun gets its keyset here, since wallets ask here when theirs is over.
    ///
    /// # Errors
    /// When a new keyset can't be announced.
    pub fn keysets(&self) -> Result<Vec<KeysetInfo>, MintError> {
        if self.is_shared() {
            self.reload_keysets()?;
        }
        for unit in self.table().units() {
            self.ensure_keyset(&unit)?;
        }
        let (now, table) = (self.now(), self.table());
        let info = |keyset: &Arc<SigningKeyset>| KeysetInfo {
            id: keyset.public.id,
            unit: keyset.record.unit.clone(),
            active: keyset.is_active(now) && !table.is_over(keyset, now),
            input_fee_ppk: keyset.public.input_fee_ppk,
            final_expiry: keyset.public.final_expiry,
            log_index: Some(keyset.record.log_index),
        };
        Ok(table.iter().map(info).collect())
    }

    /// The active keysets with keys (NUT-01), or the one with an id (NUT-02).
    ///
    /// # Errors
    /// [`ErrorCode::KeysetUnknown`].
    pub fn keys(&self, id: Option<&KeysetId>) -> Result<Vec<Keyset>, MintError> {
        self.with_keysets(|| self.known_keys(id))
    }

    fn known_keys(&self, id: Option<&KeysetId>) -> Result<Vec<Keyset>, MintError> {
        let now = self.now();
        let with_state =
            |keyset: &Arc<SigningKeyset>| Keyset { active: Some(keyset.is_active(now)), ..keyset.public.clone() };
        let table = self.table();
        match id {
            None => Ok(table.iter().filter(|keyset| keyset.is_active(now)).map(with_state).collect()),
            Some(id) => Ok(vec![with_state(table.by_id(id).ok_or(ErrorCode::KeysetUnknown)?)]),
        }
    }

    /// The units that there are keysets for.
    pub fn units(&self) -> Vec<Unit> {
        self.table().units()
    }

    /// Commits a change and waits for it.
    fn commit(&self, change: Change) -> Result<Outcome, MintError> {
        self.inner.committer.submit(change)?.wait()
    }

    /// Exchanges tokens (NUT-03). The same request again gets the same answer (NUT-19, without end: the answer is computed again).
    ///
    /// # Errors
    /// The protocol's refusals, overload, or a store that can't be written.
    pub fn swap(&self, request: &SwapRequest) -> Result<Vec<BlindSignature>, MintError> {
        let passed = self.with_keysets(|| self.check_swap(request))?;
        let worked = self.inner.pool.submit(swap_work(passed, request.clone()))?.wait()?;
        let outcome = self.commit(Change::swap(&worked))?;
        self.finish_swap(worked, outcome)
    }

    /// The same, without holding a thread while it waits for the pool and the commit.
    ///
    /// # Errors
    /// As [`Mint::swap`].
    pub async fn swap_async(&self, request: SwapRequest) -> Result<Vec<BlindSignature>, MintError> {
        let passed = match self.check_swap(&request) {
            // To learn of a keyset that another process made, the store is read.
            Err(MintError::Refused(ErrorCode::KeysetUnknown)) if self.is_shared() => {
                return self.on_a_thread(move |mint| mint.swap(&request)).await;
            }
            passed => passed?,
        };
        let worked = self.inner.pool.submit(swap_work(passed, request))?.answered().await?;
        match self.inner.committer.submit(Change::swap(&worked))?.answered().await? {
            Ok(()) => Ok(worked.signatures),
            // To see whether it is a repeat, the store is read.
            refused => self.on_a_thread(move |mint| mint.finish_swap(worked, refused)).await,
        }
    }

    /// Does what blocks on a thread that may.
    async fn on_a_thread<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Mint) -> Result<T, MintError> + Send + 'static,
    ) -> Result<T, MintError> {
        let mint = self.clone();
        tokio::task::spawn_blocking(move || act(&mint)).await.unwrap_or(Err(MintError::Closed))
    }

    fn check_swap(&self, request: &SwapRequest) -> Result<Passed, MintError> {
        Ok(rules::check_swap(self.table(), request, self.now())?)
    }

    fn finish_swap(&self, worked: Worked, outcome: Outcome) -> Result<Vec<BlindSignature>, MintError> {
        match outcome {
            Err(_) if self.all_spent(&worked.inputs)? && self.all_signed(&worked.outputs)? => {}
            outcome => accepted(outcome)?,
        }
        Ok(worked.signatures)
    }

    /// Whether all of these were spent before. With [`Mint::all_signed`]: whether a request was carried out before, so that its
    /// answer can be given again. The answer holds nothing that restoring (NUT-09) would not give to the same asker.
    fn all_spent(&self, inputs: &[Row]) -> Result<bool, MintError> {
        let ys: Vec<Point> = inputs.iter().map(|(y, _)| *y).collect();
        Ok(self.store().spent(&ys)?.into_iter().all(|spent| spent))
    }

    /// Whether all of these were signed before, each with the same key.
    fn all_signed(&self, outputs: &[Row]) -> Result<bool, MintError> {
        let blinded: Vec<Point> = outputs.iter().map(|(blinded, _)| *blinded).collect();
        let signed = self.store().signed(&blinded)?;
        Ok(signed.iter().zip(outputs).all(|(signed, (_, row))| *signed == Some(*row)))
    }

    /// Takes a programme's order for a quote. The same order twice is one.
    ///
    /// # Errors
    /// [`ErrorCode::QuoteIssued`] for another order under the same id; [`ErrorCode::AmountOutOfRange`] for zero.
    pub fn order_quote(&self, order: &EntitlementQuote) -> Result<(), MintError> {
        if order.amount == Amount::ZERO {
            return Err(ErrorCode::AmountOutOfRange.into());
        }
        self.ensure_keyset(&order.unit)?;
        let quote = MintQuote {
            method: Method::Entitlement,
            amount: order.amount,
            unit: order.unit.clone(),
            pubkey: Some(order.pubkey),
        };
        match self.commit(Change::order(&order.id, &quote))? {
            // Ordered before: the same order is no news, another one under its id is refused.
            Err(_) if self.store().mint_quote(&order.id)? == Some(quote) => Ok(()),
            outcome => accepted(outcome),
        }
    }

    /// Makes a mint quote that somebody asks for (NUT-04). Only the sandbox has such; they count as paid at once.
    ///
    /// # Errors
    /// [`ErrorCode::MintingDisabled`] outside a sandbox and for entitlements, [`ErrorCode::UnitUnsupported`] for another unit,
    /// [`ErrorCode::AmountOutOfRange`] for zero.
    pub fn request_mint_quote(
        &self,
        method: Method,
        request: &MintQuoteRequest,
    ) -> Result<MintQuoteResponse, MintError> {
        if method != Method::Sandbox || !self.inner.options.sandbox {
            return Err(ErrorCode::MintingDisabled.into());
        }
        if request.unit.as_str() != SANDBOX_UNIT {
            return Err(ErrorCode::UnitUnsupported.into());
        }
        if request.amount == Amount::ZERO {
            return Err(ErrorCode::AmountOutOfRange.into());
        }
        self.ensure_keyset(&request.unit)?;
        let quote = MintQuote { method, amount: request.amount, unit: request.unit.clone(), pubkey: request.pubkey };
        let id = uuid::Uuid::now_v7().to_string();
        accepted(self.commit(Change::order(&id, &quote))?)?;
        Ok(mint_response(&id, quote, false))
    }

    /// A mint quote (NUT-04).
    ///
    /// # Errors
    /// [`ErrorCode::QuoteNotPaid`] for one of this method that was never made.
    pub fn mint_quote(&self, method: Method, id: &str) -> Result<MintQuoteResponse, MintError> {
        Ok(mint_response(id, self.known_quote(method, id)?, self.store().issued(&[id])?[0]))
    }

    /// Several mint quotes, in the order asked (NUT-29).
    ///
    /// # Errors
    /// As [`Mint::mint_quote`], and for none, too many or the same one twice.
    pub fn mint_quotes(&self, method: Method, ids: &[String]) -> Result<Vec<MintQuoteResponse>, MintError> {
        check_batch(ids)?;
        ids.iter().map(|id| self.mint_quote(method, id)).collect()
    }

    fn known_quote(&self, method: Method, id: &str) -> Result<MintQuote, MintError> {
        let known = self.store().mint_quote(id)?.filter(|quote| quote.method == method);
        Ok(known.ok_or(ErrorCode::QuoteNotPaid)?)
    }

    /// Mints against a quote (NUT-04, NUT-20). The same request again gets the same answer (NUT-19).
    ///
    /// # Errors
    /// The protocol's refusals, overload, or a store that can't be written.
    pub fn mint(&self, method: Method, request: &MintRequest) -> Result<Vec<BlindSignature>, MintError> {
        self.mint_batch(
            method,
            &MintBatchRequest {
                quotes: vec![request.quote.clone()],
                quote_amounts: None,
                outputs: request.outputs.clone(),
                signatures: request.signature.clone().map(|signature| vec![Some(signature)]),
            },
        )
    }

    /// Mints against several quotes at once, all of them or none (NUT-29).
    ///
    /// # Errors
    /// As [`Mint::mint`], and for none, too many or the same quote twice.
    pub fn mint_batch(&self, method: Method, request: &MintBatchRequest) -> Result<Vec<BlindSignature>, MintError> {
        self.with_keysets(|| self.try_mint_batch(method, request))
    }

    fn try_mint_batch(&self, method: Method, request: &MintBatchRequest) -> Result<Vec<BlindSignature>, MintError> {
        let (keysets, now) = (self.table(), self.now());
        check_batch(&request.quotes)?;
        let quotes: Vec<MintQuote> =
            request.quotes.iter().map(|id| self.known_quote(method, id)).collect::<Result<_, _>>()?;
        let count = quotes.len();
        let signatures = request.signatures.clone().unwrap_or_else(|| vec![None; count]);
        if signatures.len() != count {
            return Err(ErrorCode::QuoteSignatureInvalid.into());
        }
        for ((id, quote), signature) in request.quotes.iter().zip(&quotes).zip(&signatures) {
            let signed = match (&quote.pubkey, signature) {
                (Some(key), Some(signature)) => quote::verify(id, &request.outputs, signature, key),
                (None, None) => true,
                _ => false,
            };
            if !signed {
                return Err(ErrorCode::QuoteSignatureInvalid.into());
            }
        }
        let amounts = quotes.iter().map(|quote| quote.amount);
        if request.quote_amounts.as_ref().is_some_and(|expected| !amounts.clone().eq(expected.iter().copied())) {
            return Err(ErrorCode::Unbalanced.into());
        }
        let worth = Amount::checked_sum(amounts).ok_or(ErrorCode::AmountOutOfRange)?;
        if quotes.iter().any(|quote| quote.unit != quotes[0].unit) {
            return Err(ErrorCode::MultipleUnits.into());
        }
        let ids: Vec<&str> = request.quotes.iter().map(String::as_str).collect();
        let were_issued = self.store().issued(&ids)?;
        let issued = were_issued.iter().all(|issued| *issued);
        if !issued && were_issued.contains(&true) {
            return Err(ErrorCode::QuoteIssued.into());
        }
        let outputs = match rules::check_outputs(&keysets, &request.outputs, now) {
            // Whatever else is wrong with the outputs: nothing is minted twice.
            Err(_) if issued => return Err(ErrorCode::QuoteIssued.into()),
            outputs => outputs?,
        };
        if outputs.unit != quotes[0].unit {
            return Err(ErrorCode::UnitMismatch.into());
        }
        if outputs.worth != worth {
            return Err(if issued { ErrorCode::QuoteIssued } else { ErrorCode::Unbalanced }.into());
        }
        let passed = Passed { keysets, now, inputs: Vec::new(), outputs: outputs.rows };
        let work = Work { passed, inputs: Vec::new(), outputs: Vec::new(), quote: None };
        let worked = self.inner.pool.submit(work)?.wait()?;
        let minted: Vec<(&str, &MintQuote)> = ids.into_iter().zip(&quotes).collect();
        match self.commit(Change::mint(&minted, &worked))? {
            Err(Table::Issued) if self.all_signed(&worked.outputs)? => {}
            outcome => accepted(outcome)?,
        }
        Ok(worked.signatures)
    }

    /// Makes a quote for redeeming (NUT-05); the request is `MERCHANT:AMOUNT`.
    ///
    /// # Errors
    /// [`ErrorCode::AmountOutOfRange`] for a request of another form or zero, [`ErrorCode::UnitUnsupported`] when the merchant is
    /// not registered for the unit.
    pub fn request_melt_quote(&self, request: &MeltQuoteRequest) -> Result<MeltQuoteResponse, MintError> {
        let (merchant, amount) = request.request.rsplit_once(':').ok_or(ErrorCode::AmountOutOfRange)?;
        let amount = amount.parse().ok().filter(|amount| *amount > 0).ok_or(ErrorCode::AmountOutOfRange)?;
        if !self.inner.merchants.accepts(merchant, &request.unit) {
            return Err(ErrorCode::UnitUnsupported.into());
        }
        let quote = MeltQuote {
            merchant: merchant.to_owned(),
            amount: Amount::new(amount),
            unit: request.unit.clone(),
            expiry: self.now() + MELT_QUOTE_SECONDS,
        };
        let id = uuid::Uuid::now_v7().to_string();
        accepted(self.commit(Change::melt_quote(&id, &quote))?)?;
        Ok(melt_response(&id, quote, false))
    }

    /// A quote for redeeming.
    ///
    /// # Errors
    /// [`ErrorCode::QuoteNotPaid`] for one that was never made.
    pub fn melt_quote(&self, id: &str) -> Result<MeltQuoteResponse, MintError> {
        let quote = self.store().melt_quote(id)?.ok_or(ErrorCode::QuoteNotPaid)?;
        Ok(melt_response(id, quote, self.store().redeemed(id)?))
    }

    /// Redeems tokens into a merchant's balance (NUT-05). The inputs must be worth the quote exactly.
    ///
    /// # Errors
    /// The protocol's refusals, overload, or a store that can't be written.
    pub fn melt(&self, request: &MeltRequest) -> Result<MeltQuoteResponse, MintError> {
        self.with_keysets(|| self.try_melt(request))
    }

    fn try_melt(&self, request: &MeltRequest) -> Result<MeltQuoteResponse, MintError> {
        let (keysets, now) = (self.table(), self.now());
        let quote = self.store().melt_quote(&request.quote)?.ok_or(ErrorCode::QuoteNotPaid)?;
        let paid = self.store().redeemed(&request.quote)?;
        if !paid && now >= quote.expiry {
            return Err(ErrorCode::QuoteExpired.into());
        }
        let passed = match rules::check_inputs(&keysets, &request.inputs, now) {
            Err(_) if paid => return Err(ErrorCode::AlreadyPaid.into()),
            inputs => inputs?,
        };
        if passed.unit != quote.unit {
            return Err(ErrorCode::UnitMismatch.into());
        }
        if passed.worth != quote.amount {
            return Err(ErrorCode::Unbalanced.into());
        }
        let work = Work {
            passed: Passed { keysets, now, inputs: passed.rows, outputs: Vec::new() },
            inputs: request.inputs.clone(),
            outputs: request.outputs.clone(),
            quote: Some(request.quote.clone()),
        };
        let worked = match self.inner.pool.submit(work)?.wait() {
            Err(MintError::Refused(_)) if paid => return Err(ErrorCode::AlreadyPaid.into()),
            worked => worked?,
        };
        match self.commit(Change::melt(&request.quote, &quote, &worked))? {
            // The same request again, as far as anybody can tell: its tokens are worth the quote, and spent.
            Err(Table::Redeemed) if self.all_spent(&worked.inputs)? => {}
            outcome => accepted(outcome)?,
        }
        Ok(melt_response(&request.quote, quote, true))
    }

    /// Whether tokens are spent (NUT-07).
    ///
    /// # Errors
    /// [`ErrorCode::TooManyInputs`] for more than [`LOOKUPS_MAX`].
    pub fn check_state(&self, request: &CheckStateRequest) -> Result<Vec<ProofStateEntry>, MintError> {
        if request.ys.len() > LOOKUPS_MAX {
            return Err(ErrorCode::TooManyInputs.into());
        }
        let (spent, witnesses) = (self.store().spent(&request.ys)?, self.store().witnesses(&request.ys)?);
        let state = |((y, spent), witness): ((&Point, bool), Option<String>)| ProofStateEntry {
            y: *y,
            state: if spent { ProofState::Spent } else { ProofState::Unspent },
            witness,
        };
        Ok(request.ys.iter().zip(spent).zip(witnesses).map(state).collect())
    }

    /// The signatures of outputs that were signed before (NUT-09), computed again.
    ///
    /// # Errors
    /// [`ErrorCode::TooManyOutputs`] for more than [`LOOKUPS_MAX`].
    pub fn restore(&self, request: &RestoreRequest) -> Result<RestoreResponse, MintError> {
        self.with_keysets(|| self.try_restore(request))
    }

    fn try_restore(&self, request: &RestoreRequest) -> Result<RestoreResponse, MintError> {
        if request.outputs.len() > LOOKUPS_MAX {
            return Err(ErrorCode::TooManyOutputs.into());
        }
        let table = self.table();
        let mut answer = RestoreResponse { outputs: Vec::new(), signatures: Vec::new() };
        let blinded: Vec<Point> = request.outputs.iter().map(|output| output.blinded).collect();
        for (output, row) in request.outputs.iter().zip(self.store().signed(&blinded)?) {
            if let Some(row) = row {
                let signature = rules::sign(&table, &output.blinded, row).ok_or(ErrorCode::KeysetUnknown)?;
                answer.outputs.push(output.clone());
                answer.signatures.push(signature);
            }
        }
        Ok(answer)
    }

    /// Events after number `cursor`, for the treasury.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn events_after(&self, cursor: u64, limit: usize) -> Result<Vec<(u64, MintEvent)>, MintError> {
        self.store().events_after(cursor, limit)
    }

    /// The number of the last event, 0 when there is none.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn last_event(&self) -> Result<u64, MintError> {
        self.store().last_event()
    }
}

/// A batch of quotes: some, not too many, none twice (NUT-29).
fn check_batch(ids: &[String]) -> Result<(), ErrorCode> {
    let distinct: HashSet<&String> = ids.iter().collect();
    match ids.len() {
        0 => Err(ErrorCode::Unbalanced),
        count if count > BATCH_MAX => Err(ErrorCode::BatchTooLarge),
        count if distinct.len() != count => Err(ErrorCode::DuplicateQuotes),
        _ => Ok(()),
    }
}

/// What a refusal by the store is in the protocol.
fn accepted(outcome: Outcome) -> Result<(), MintError> {
    outcome.map_err(|table| {
        MintError::Refused(match table {
            Table::Spent | Table::Witnesses => ErrorCode::ProofsSpent,
            Table::Signed => ErrorCode::OutputsSigned,
            Table::Issued | Table::MintQuotes => ErrorCode::QuoteIssued,
            Table::Redeemed | Table::MeltQuotes => ErrorCode::AlreadyPaid,
            Table::Keysets | Table::Closed | Table::Events => ErrorCode::QuotePending,
        })
    })
}

fn swap_work(passed: Passed, request: SwapRequest) -> Work {
    Work { passed, inputs: request.inputs, outputs: request.outputs, quote: None }
}

fn mint_response(id: &str, quote: MintQuote, issued: bool) -> MintQuoteResponse {
    MintQuoteResponse {
        quote: id.to_owned(),
        request: String::new(),
        amount: quote.amount,
        unit: quote.unit,
        state: if issued { MintQuoteState::Issued } else { MintQuoteState::Paid },
        expiry: None,
        pubkey: quote.pubkey,
    }
}

fn melt_response(id: &str, quote: MeltQuote, paid: bool) -> MeltQuoteResponse {
    MeltQuoteResponse {
        quote: id.to_owned(),
        request: format!("{}:{}", quote.merchant, quote.amount),
        amount: quote.amount,
        unit: quote.unit,
        fee_reserve: Amount::ZERO,
        state: if paid { MeltQuoteState::Paid } else { MeltQuoteState::Unpaid },
        expiry: quote.expiry,
    }
}
