//! Who may act: officers with a role and a bearer token. Only the token's hash is stored.

use std::str::FromStr;

use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};

use crate::RegistryError;
use crate::store::Registry;

/// What an officer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Adds officers.
    Administrator,
    /// Enrols people.
    Registrar,
    /// Sets up programmes, prepares and approves runs.
    ProgrammeOfficer,
    /// Funds programmes and settles merchants.
    FinanceOfficer,
}

impl Role {
    /// The name in the log and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Role::Administrator => "administrator",
            Role::Registrar => "registrar",
            Role::ProgrammeOfficer => "programme-officer",
            Role::FinanceOfficer => "finance-officer",
        }
    }
}

impl FromStr for Role {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        [Role::Administrator, Role::Registrar, Role::ProgrammeOfficer, Role::FinanceOfficer]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| {
                RegistryError::Invalid(
                    "a role is administrator, registrar, programme-officer or finance-officer".into(),
                )
            })
    }
}

/// An officer who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Who.
    pub id: String,
    /// As what.
    pub role: Role,
}

impl Actor {
    /// That the officer has a role.
    ///
    /// # Errors
    /// When not.
    pub fn must_be(&self, role: Role) -> Result<(), RegistryError> {
        if self.role == role { Ok(()) } else { Err(RegistryError::Forbidden(role.name())) }
    }
}

impl Registry {
    /// Adds an officer and gives the token, which is shown once.
    ///
    /// # Errors
    /// For a name that is taken or not 1 to 64 letters, digits, '-' or '_'.
    pub fn add_officer(&self, id: &str, role: Role) -> Result<String, RegistryError> {
        let fits = (1..=64).contains(&id.len());
        if !fits || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            return Err(RegistryError::Invalid("an officer's name has 1 to 64 letters, digits, '-' or '_'".into()));
        }
        let token = hex::encode(rand::random::<[u8; 32]>());
        let added = self.connection().execute(
            "INSERT INTO officers (id, role, token_hash) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![id, role.name(), Sha256::digest(&token).to_vec()],
        )?;
        if added == 0 {
            return Err(RegistryError::Conflict("there is an officer of this name already"));
        }
        Ok(token)
    }

    /// Whether there is any officer yet.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn has_officers(&self) -> Result<bool, RegistryError> {
        Ok(self.connection().query_row("SELECT EXISTS (SELECT 1 FROM officers)", [], |row| row.get(0))?)
    }

    /// The officers behind the marks of one entry of the log, as far as they are known here.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn officers_of(&self, nonce: &[u8; 16], marks: &[[u8; 16]]) -> Result<Vec<String>, RegistryError> {
        let database = self.connection();
        let mut statement = database.prepare_cached("SELECT id FROM officers ORDER BY id")?;
        let mut officers = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        officers.retain(|officer| marks.contains(&self.keys().officer_mark(officer, nonce)));
        Ok(officers)
    }

    /// The officer whose token this is. The token's hash is looked up, so timing tells nothing about tokens.
    ///
    /// # Errors
    /// [`RegistryError::Forbidden`] for a token of nobody.
    pub fn actor(&self, token: &str) -> Result<Actor, RegistryError> {
        let found: Option<(String, String)> = self
            .connection()
            .query_row("SELECT id, role FROM officers WHERE token_hash = ?1", [Sha256::digest(token).to_vec()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let (id, role) = found.ok_or(RegistryError::Forbidden("a known officer's token"))?;
        Ok(Actor { id, role: role.parse()? })
    }
}
