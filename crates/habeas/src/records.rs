//! What officers do with people's records: `habeas person …`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use registry::api::Marks;
use registry::look_up::{LookUp, WaitingLookUp};
use registry::person::Attribute;
use serde::Deserialize;
use serde_json::{Value, json};
use tlog::client::{fetch_checkpoint, prove_inclusion};
use tlog::entry::Entry;
use tlog::note::Verifier;
use wallet::log_view::HttpTiles;

use crate::Acting;
use crate::data::DataFolder;

/// What is done with one person's record.
#[derive(Subcommand)]
pub enum PersonCommand {
    /// Open a record: the person will see that it was, by which role and why
    Show {
        /// The document number that the person was enrolled with
        document_number: String,
        /// Why, from the published list, such as answer-person
        #[arg(long)]
        purpose: String,
        /// Which fields, separated by commas; default: all that the purpose allows
        #[arg(long, value_delimiter = ',')]
        fields: Vec<Attribute>,
        #[command(flatten)]
        acting: Acting,
    },
    /// Show the look-ups past a registrar's daily limit, which wait for another one
    Waiting {
        #[command(flatten)]
        acting: Acting,
    },
    /// Approve a look-up of another registrar, once
    Approve {
        /// Its id
        look_up: String,
        #[command(flatten)]
        acting: Acting,
    },
    /// Tell which officers are behind an entry of the public log, as the administrator
    OpenedBy {
        /// The entry's number
        entry: u64,
        #[command(flatten)]
        acting: Acting,
    },
}

#[derive(Deserialize)]
struct Shown {
    fields: BTreeMap<Attribute, String>,
}

#[derive(Deserialize)]
struct Behind {
    officers: Vec<String>,
}

/// `habeas person …`
pub fn person(command: PersonCommand) -> Result<()> {
    match command {
        PersonCommand::Show { document_number, purpose, fields, acting } => {
            let look_up = LookUp { document_number, purpose, fields };
            let shown: Shown = acting.officer()?.post("/registry/v1/people/look-up", &look_up)?;
            for (field, value) in shown.fields {
                println!("{}: {value}", field.name());
            }
        }
        PersonCommand::Waiting { acting } => {
            let waiting: Vec<WaitingLookUp> = acting.officer()?.get("/registry/v1/look-ups")?;
            for WaitingLookUp { id, officer, purpose, fields } in waiting {
                println!("{id}: {officer} asks for {fields}, purpose {purpose}");
            }
        }
        PersonCommand::Approve { look_up, acting } => {
            let path = format!("/registry/v1/look-ups/{look_up}/approval");
            let _: Value = acting.officer()?.post(&path, &json!({}))?;
            println!("approved: the same look-up goes through now, once");
        }
        PersonCommand::OpenedBy { entry, acting } => {
            let marks = marks_of(&acting, entry)?;
            let behind: Behind = acting.officer()?.post("/registry/v1/officers/behind", &marks)?;
            if behind.officers.len() < marks.officers.len() {
                bail!("entry {entry} has an officer whom this registry does not know");
            }
            println!("entry {entry}: {}", behind.officers.join(", "));
        }
    }
    Ok(())
}

/// The marks of an entry, which the log's checkpoint holds.
fn marks_of(acting: &Acting, entry: u64) -> Result<Marks> {
    let server = DataFolder::existing(&acting.data)?.server_file()?;
    let source = HttpTiles::new(&format!("{}/log", server.url));
    let (_, checkpoint) = fetch_checkpoint(&source, &Verifier::parse(&server.log_vkey)?.into())?;
    let proven = prove_inclusion(&source, &checkpoint, entry)?;
    match Entry::parse(&proven.entry).context("this program does not know the entry")? {
        Entry::RecordOpened { tag, officers, .. } => Ok(Marks { nonce: tag.nonce, officers }),
        _ => bail!("entry {entry} is not about a person's record"),
    }
}
