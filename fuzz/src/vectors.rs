//! Seeds from the published test vectors of the NUTs, which lie beside the repository (`HABEAS_VECTORS`) or are missing.

use std::path::PathBuf;

/// The texts of all vector files; none where they are not there.
fn files() -> Vec<String> {
    let folder = std::env::var_os("HABEAS_VECTORS")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/cashu"));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

/// Lines that begin with one of these.
pub fn lines(prefixes: &[&str]) -> Vec<Vec<u8>> {
    let is_wanted = |line: &&str| prefixes.iter().any(|prefix| line.starts_with(prefix));
    files().iter().flat_map(|text| text.lines().filter(is_wanted).map(|line| line.as_bytes().to_vec())).collect()
}

/// Fenced blocks of JSON.
pub fn json() -> Vec<Vec<u8>> {
    let blocks = |text: &String| -> Vec<Vec<u8>> {
        let fenced = text.split("```").skip(1).step_by(2);
        fenced.filter_map(|block| Some(block.strip_prefix("json\n")?.as_bytes().to_vec())).collect()
    };
    files().iter().flat_map(blocks).collect()
}
