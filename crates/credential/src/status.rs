//! Status lists (Token Status List): whether credentials are valid, suspended or revoked, for everybody to fetch whole, so that asking
//! tells nobody which credential is looked at.
//!
//! The database knows what a list says; the list in memory is made from it at the start, and its signed form is made when somebody asks
//! and something has changed. A list that changes at every revocation would tell when each happened, but not of whom.

use std::sync::{Mutex, PoisonError};

use rand::RngExt;
use statuslist::{Issuing, Reference, Status, StatusList, StatusListError};

use crate::certificates::{Authority, Certificates};
use crate::expiring::Full;
use crate::store::{Batch, BatchesOf, Store};
use crate::{Credentials, IssuerError};

/// The path of the lists below the issuer's address.
pub const LISTS_PATH: &str = "/status/";
/// The path of the register's list.
pub const REGISTER_LIST_PATH: &str = "/register/status";
/// Places of a list: a million, and 256 KiB before compression. A place among few would single its holder out.
const PLACES: u32 = 1 << 20;
/// Places of the register's list: relying parties are thousands, not millions.
const REGISTER_PLACES: u32 = 1 << 13;
/// Two bits a place: valid, revoked, suspended.
const BITS: u8 = 2;
/// A list is left for the next when three quarters of it are taken: in a list that is nearly full, the last places are not random.
const FULL: u32 = PLACES / 4 * 3;
/// Lists, at most: some two hundred million credentials, and 100 MB of memory.
const LISTS_MAX: u32 = 256;
/// How long a reader may keep a list, in seconds: between asking seldom and knowing soon.
pub const TTL_SECONDS: u64 = 300;
/// How long a reader may keep the register's list: a suspension takes effect at once.
pub const REGISTER_TTL_SECONDS: u64 = 30;
/// How long a signed list is good.
const VALID_SECONDS: u64 = 24 * 3600;

/// The lists. A lock guards each, held while places are drawn or a list is signed.
pub(crate) struct State {
    lists: Mutex<Vec<List>>,
    register: Mutex<List>,
}

struct List {
    statuses: StatusList,
    /// A bit a place.
    taken: Vec<u64>,
    count: u32,
    /// What was signed last, until something changes: when, as JWT and as CWT.
    signed: Option<Signed>,
}

struct Signed {
    at: u64,
    jwt: String,
    cwt: Vec<u8>,
}

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON.
    Jwt,
    /// CBOR.
    Cwt,
}

impl List {
    fn new(places: u32) -> Self {
        let statuses = StatusList::new(BITS, places as usize).expect("two bits are a size, and a million places fit");
        List { statuses, taken: vec![0; places as usize / 64], count: 0, signed: None }
    }

    /// Takes a place. `false` when it is taken.
    fn take(&mut self, place: u32) -> bool {
        let (word, bit) = (place as usize / 64, 1u64 << (place % 64));
        let free = self.taken[word] & bit == 0;
        self.taken[word] |= bit;
        self.count += u32::from(free);
        free
    }

    fn set(&mut self, place: u32, status: Status) -> Result<(), StatusListError> {
        self.signed = None;
        self.statuses.set(place.into(), status)
    }

    /// The list signed, in a form.
    fn signed(
        &mut self,
        form: Form,
        uri: &str,
        ttl: u64,
        certificates: &Certificates,
        now: u64,
    ) -> Result<Vec<u8>, IssuerError> {
        if let Some(signed) = self.signed.as_ref().filter(|signed| now < signed.at + ttl) {
            return Ok(signed.in_form(form));
        }
        let signer = certificates.signer(Authority::Issuer);
        let issuing = Issuing { uri, iat: now, exp: Some(now + VALID_SECONDS), ttl: Some(ttl) };
        let chain = &signer.chain;
        let signed = Signed {
            at: now,
            jwt: self.statuses.to_jwt(&issuing, &*signer.key, chain)?,
            cwt: self.statuses.to_cwt(&issuing, &*signer.key, chain)?,
        };
        Ok(self.signed.insert(signed).in_form(form))
    }
}

impl State {
    /// Makes the lists from what the database knows.
    pub(crate) fn load(store: &Store) -> Result<Self, IssuerError> {
        let mut lists: Vec<List> = Vec::new();
        let mut damaged = false;
        store.each_batch(|batch| {
            if batch.list >= LISTS_MAX || batch.indices.iter().any(|place| *place >= PLACES) {
                damaged = true;
                return;
            }
            while lists.len() <= batch.list as usize {
                lists.push(List::new(PLACES));
            }
            let list = &mut lists[batch.list as usize];
            for place in &batch.indices {
                list.take(*place);
                let _ = list.set(*place, Status::from(batch.status));
            }
        })?;
        if damaged {
            let told = "a row of batches was changed on disk: `habeas audit` names it";
            return Err(IssuerError::Keys(told.into()));
        }
        let mut register = List::new(REGISTER_PLACES);
        store.each_relying_party(|place, suspended| {
            if place < REGISTER_PLACES {
                register.take(place);
                let _ = register.set(place, if suspended { Status::Suspended } else { Status::Valid });
            }
        })?;
        Ok(State { lists: Mutex::new(lists), register: Mutex::new(register) })
    }

    /// Draws places by lot. They are taken from now on, also if they are not used in the end.
    ///
    /// # Errors
    /// [`Full`] when all lists are taken.
    pub(crate) fn draw(&self, count: usize) -> Result<(u32, Vec<u32>), Full> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.last().is_none_or(|list| list.count + count as u32 > FULL) {
            if lists.len() >= LISTS_MAX as usize {
                return Err(Full);
            }
            lists.push(List::new(PLACES));
        }
        let number = lists.len() - 1;
        let (list, mut rng) = (&mut lists[number], rand::rng());
        let mut places = Vec::with_capacity(count);
        while places.len() < count {
            let place = rng.random_range(0..PLACES);
            if list.take(place) {
                places.push(place);
            }
        }
        Ok((number as u32, places))
    }

    /// Draws a place in the register's list. `None` when it is full.
    pub(crate) fn draw_register(&self) -> Option<u32> {
        let mut list = self.register.lock().unwrap_or_else(PoisonError::into_inner);
        (list.count < REGISTER_PLACES).then_some(())?;
        let mut rng = rand::rng();
        loop {
            let place = rng.random_range(0..REGISTER_PLACES);
            if list.take(place) {
                return Some(place);
            }
        }
    }

    pub(crate) fn set_register(&self, place: u32, status: Status) {
        let mut register = self.register.lock().unwrap_or_else(PoisonError::into_inner);
        register.set(place, status).expect("a place that was drawn is in the list");
    }
}

impl Credentials {
    /// A list as its readers fetch it. `None` when there is no list of this number.
    ///
    /// # Errors
    /// When it can't be signed.
    pub fn status_list(&self, number: usize, form: Form, issuer: &str) -> Result<Option<Vec<u8>>, IssuerError> {
        let mut lists = self.inner.statuses.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(list) = lists.get_mut(number) else { return Ok(None) };
        let uri = list_uri(issuer, number as u32);
        list.signed(form, &uri, TTL_SECONDS, &self.inner.certificates, self.now()).map(Some)
    }

    /// The register's list.
    ///
    /// # Errors
    /// When it can't be signed.
    pub fn register_status_list(&self, form: Form, issuer: &str) -> Result<Vec<u8>, IssuerError> {
        let mut list = self.inner.statuses.register.lock().unwrap_or_else(PoisonError::into_inner);
        let uri = format!("{issuer}{REGISTER_LIST_PATH}");
        list.signed(form, &uri, REGISTER_TTL_SECONDS, &self.inner.certificates, self.now())
    }

    /// Suspends a device's credentials, or lifts a suspension. Gives how many credentials changed.
    ///
    /// # Errors
    /// When the database can't be written: nothing changes then.
    pub fn suspend(&self, grant: &str, suspended: bool) -> Result<usize, IssuerError> {
        let status = if suspended { Status::Suspended } else { Status::Valid };
        self.change_statuses(|store| store.set_status(BatchesOf::Grant(grant), status))
    }

    /// Revokes one batch: the wallet says that it threw it away, or could not keep it.
    ///
    /// # Errors
    /// When the database can't be written.
    pub fn revoke_batch(&self, batch: &str) -> Result<usize, IssuerError> {
        self.change_statuses(|store| store.set_status(BatchesOf::Batch(batch), Status::Invalid))
    }

    /// Changes statuses in the database, then in the lists, and lets nobody in between: what is committed last is in the list last. Gives how
    /// many credentials changed.
    pub(crate) fn change_statuses(
        &self,
        change: impl FnOnce(&Store) -> Result<Vec<Batch>, IssuerError>,
    ) -> Result<usize, IssuerError> {
        let mut lists = self.inner.statuses.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let batches = change(&self.inner.store)?;
        let mut changed = 0;
        for batch in batches {
            let Some(list) = lists.get_mut(batch.list as usize) else { continue };
            changed += batch.indices.len();
            let set = |place: &u32| {
                list.set(*place, Status::from(batch.status)).expect("a place that was drawn is in the list")
            };
            batch.indices.iter().for_each(set);
        }
        Ok(changed)
    }
}

impl Signed {
    fn in_form(&self, form: Form) -> Vec<u8> {
        match form {
            Form::Jwt => self.jwt.as_bytes().to_vec(),
            Form::Cwt => self.cwt.clone(),
        }
    }
}

/// What stands in a credential.
pub(crate) fn reference(issuer: &str, list: u32, place: u32) -> Reference {
    Reference { uri: list_uri(issuer, list), idx: place.into() }
}

fn list_uri(issuer: &str, number: u32) -> String {
    format!("{issuer}{LISTS_PATH}{number}")
}
