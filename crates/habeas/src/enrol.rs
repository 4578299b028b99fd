//! Enrolling a file: read here, sent in parts, refused rows and offers written beside it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use indicatif::ProgressBar;
use registry::enrol::{ColumnMap, EnrolRequest, Offer, RowOutcome};

use crate::client::Officer;

/// Rows sent at once: one transaction of the registry, some tenths of a second.
const ROWS_PER_REQUEST: usize = 250;

/// What became of a file.
#[derive(Debug, Default)]
pub struct Enrolled {
    /// New people's offers, in the file's order.
    pub offers: Vec<Offer>,
    /// Rows that were enrolled before.
    pub already: usize,
    /// Refused rows: line of the file, its cells, the reason.
    pub refused: Vec<(u64, Vec<String>, String)>,
    /// New people who are likely the same as others.
    pub flagged: usize,
    /// The file's column names.
    pub header: Vec<String>,
}

/// Reads a column map.
pub fn read_map(path: &Path) -> Result<ColumnMap> {
    let text = fs::read_to_string(path).with_context(|| format!("the column map {} can't be read", path.display()))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
        let (path, message) = (path.display(), error.message());
        anyhow!("the column map {path} is not as examples/febrl.map.toml shows: line {line}: {message}")
    })
}

/// Enrols the people of a CSV file. `keep` gets each part's offers as soon as they are made: the server gives them once.
pub fn enrol(
    officer: &Officer,
    file: &Path,
    map: &ColumnMap,
    progress: &ProgressBar,
    mut keep: impl FnMut(&[Offer]) -> Result<()>,
) -> Result<Enrolled> {
    let bytes = fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
    let Ok(text) = std::str::from_utf8(&bytes) else {
        bail!("{} is not UTF-8: save it as UTF-8 and try again; nothing was enrolled", file.display());
    };
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let header: Vec<String> = reader.headers().context("the header can't be read")?.iter().map(str::to_owned).collect();
    if header.iter().all(String::is_empty) {
        bail!("{} is empty: the first line must name the columns", file.display());
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.context("the file is not CSV; nothing was enrolled")?;
        let line = record.position().map_or(0, csv::Position::line);
        rows.push((line, record.iter().map(str::to_owned).collect::<Vec<_>>()));
    }
    if text.bytes().filter(|byte| *byte == b'"').count() % 2 == 1 {
        // The reader takes all that follows an open quote as one cell, so the last record begins where it was opened.
        let line = rows.last().map_or(1, |(line, _)| *line);
        bail!("a quote that is opened in line {line} or before is never closed: nothing was enrolled");
    }
    if rows.is_empty() {
        bail!("{} has a header and no rows: nobody was enrolled", file.display());
    }
    progress.set_length(rows.len() as u64);
    let mut enrolled = Enrolled { header: header.clone(), ..Enrolled::default() };
    for part in rows.chunks(ROWS_PER_REQUEST) {
        let cells = part.iter().map(|(_, row)| row.clone()).collect();
        let request = EnrolRequest { map: map.clone(), header: header.clone(), rows: cells };
        let outcomes: Vec<RowOutcome> = officer.post("/registry/v1/enrolments", &request)?;
        let before = enrolled.offers.len();
        for ((line, row), outcome) in part.iter().zip(outcomes) {
            match outcome {
                RowOutcome::Enrolled { offer, possible_duplicates } => {
                    enrolled.offers.push(offer);
                    enrolled.flagged += usize::from(possible_duplicates > 0);
                }
                RowOutcome::AlreadyEnrolled => enrolled.already += 1,
                RowOutcome::Refused { reason } => enrolled.refused.push((*line, row.clone(), reason)),
            }
        }
        keep(&enrolled.offers[before..])?;
        progress.inc(part.len() as u64);
    }
    progress.finish_and_clear();
    Ok(enrolled)
}

/// Writes the refused rows with the line and the reason of each, for a registrar to mend.
pub fn write_refused(path: &Path, enrolled: &Enrolled) -> Result<()> {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    let mut header = vec!["line".to_owned(), "reason".to_owned()];
    header.extend(enrolled.header.iter().cloned());
    writer.write_record(&header)?;
    for (line, row, reason) in &enrolled.refused {
        writer.write_record([&line.to_string(), reason].into_iter().chain(row))?;
    }
    // Personal data: only its owner may read it.
    crate::data::write_private(path, &writer.into_inner().context("writing to memory does not fail")?)
}
