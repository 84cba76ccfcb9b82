//! Runs every scenario in specs/ as a test, in the deterministic order and with seeds.

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use tidegate::registry::for_scenarios;
use tidegate_scenarios::{Mode, Script, play};

/// Number of seeds for each scenario.
const SEEDS: u64 = 8;

fn main() {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs");
    let mut found = Vec::new();
    find(&root, &mut found);
    found.sort();
    assert!(
        !found.is_empty(),
        "no scenarios found in {}",
        root.display()
    );
    let trials = found.into_iter().map(|file| {
        let name = file.strip_prefix(&root).unwrap_or(&file).with_extension("");
        Trial::test(name.display().to_string(), move || check(&file))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn check(file: &Path) -> Result<(), Failed> {
    let source = std::fs::read_to_string(file)?;
    let script = Script::parse(file, &source).map_err(|error| error.to_string())?;
    let registry = for_scenarios();
    play(&script, &registry, Mode::Ordered).map_err(|failure| failure.to_string())?;
    let seeds = if script.is_ordered() { 0 } else { SEEDS };
    for seed in 1..=seeds {
        play(&script, &registry, Mode::Seeded(seed))
            .map_err(|failure| format!("reproduce with --seeds 1 --seed {seed}: {failure}"))?;
    }
    Ok(())
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, found);
        } else if path.extension().is_some_and(|suffix| suffix == "spec") {
            found.push(path);
        }
    }
}
