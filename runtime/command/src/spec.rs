//! `tidegate spec`: plays scenarios, draws them, and writes their reactions anew on request.

mod live;

use std::path::{Path, PathBuf};
use std::time::Instant;

use tidegate_config::Registry;
use tidegate_scenarios::{Mode, Script, bless, chart, play};

use crate::arguments::Spec;
use crate::console::{faint, say};
use crate::factory::Factory;
use crate::failure::Failure;
use crate::registry::for_scenarios;

/// What a scenario's file name ends in.
const SUFFIX: &str = "spec";

pub(crate) fn run(command: Spec) -> Result<(), Failure> {
    match command {
        Spec::Run {
            paths, live: true, ..
        } => run_live(&paths),
        Spec::Run {
            paths,
            seeds,
            seed,
            bless: false,
            ..
        } => run_all(&paths, |script, registry| {
            play_one(script, registry, seed, seeds)
        }),
        Spec::Run { paths, .. } => bless_all(&paths),
        Spec::Fields => {
            say(fields());
            Ok(())
        }
        Spec::Show { file } => {
            say(chart(&read(&file)?));
            Ok(())
        }
    }
}

/// The reference of all fields, from their one declaration.
fn fields() -> String {
    format!(
        "# The fields of every stream\n\nWritten by `tidegate spec fields`; each field is declared \
         once, in runtime/streams.\n{}\n# The fields of every packet\n\nOn the network side of \
         `mqtt · client`; the names are those of MQTT 5.0. A PUBLISH's payload stands behind its \
         fields. A reason code may be written as it is printed: `reason=0x87`.\n{}",
        tidegate_streams::reference(),
        tidegate_binding_mqtt::codec::packet_reference()
    )
}

/// Plays every scenario; the table first, then what each failure has to tell.
fn run_all(
    paths: &[PathBuf],
    hold: impl Fn(&Script, &Registry<Factory>) -> Result<(), String>,
) -> Result<(), Failure> {
    run_files(&scenarios(paths)?, hold)
}

/// Plays those that are marked `live` against the wire.
fn run_live(paths: &[PathBuf]) -> Result<(), Failure> {
    let mut files = scenarios(paths)?;
    let live = |file: &PathBuf| read(file).is_ok_and(|script| script.is_live());
    files.retain(live);
    if files.is_empty() {
        return Err(Failure::NoScenarios);
    }
    run_files(&files, |script, _| live::play(script))
}

fn run_files(
    files: &[PathBuf],
    hold: impl Fn(&Script, &Registry<Factory>) -> Result<(), String>,
) -> Result<(), Failure> {
    let registry = for_scenarios();
    let started = Instant::now();
    let mut failures = Vec::new();
    let width = files
        .iter()
        .map(|file| file.display().to_string().len())
        .max();
    let width = width.unwrap_or_default();
    for file in files {
        let began = Instant::now();
        let script = read(file).map_err(|failure| failure.to_string());
        let verdict = script.and_then(|script| hold(&script, &registry));
        let (word, told) = match verdict {
            Ok(()) => ("ok", None),
            Err(told) => ("FAILED", Some(told)),
        };
        let name = file.display().to_string();
        let time = format!("{:.1} ms", began.elapsed().as_secs_f64() * 1e3);
        say(format!("{name:width$}  {word:6}  {}", faint(&time)));
        failures.extend(told);
    }
    let total = files.len();
    let failed = failures.len();
    for told in failures {
        say("");
        say(told);
    }
    say(format!(
        "{} passed, {failed} failed in {:.2} s",
        total - failed,
        started.elapsed().as_secs_f64()
    ));
    if failed == 0 {
        Ok(())
    } else {
        Err(Failure::Scenarios { failed, total })
    }
}

fn play_one(
    script: &Script,
    registry: &Registry<Factory>,
    seed: u64,
    seeds: u64,
) -> Result<(), String> {
    play(script, registry, Mode::Ordered).map_err(|failure| failure.to_string())?;
    let seeds = if script.is_ordered() { 0 } else { seeds };
    for seed in seed..seed.saturating_add(seeds) {
        play(script, registry, Mode::Seeded(seed))
            .map_err(|failure| format!("{failure}  with --seeds 1 --seed {seed}"))?;
    }
    Ok(())
}

fn bless_all(paths: &[PathBuf]) -> Result<(), Failure> {
    if std::env::var_os("CI").is_some_and(|ci| !ci.is_empty()) {
        return Err(Failure::BlessedByCi);
    }
    let registry = for_scenarios();
    for file in scenarios(paths)? {
        let script = read(&file)?;
        let told = bless(&script, &registry).map_err(|what| Failure::Bless {
            file: file.clone(),
            what,
        })?;
        let before = std::fs::read_to_string(&file)?;
        if told == before {
            say(format!("{}  unchanged", file.display()));
        } else {
            std::fs::write(&file, told)?;
            let blessed = read(&file)?;
            play(&blessed, &registry, Mode::Ordered).map_err(|failure| Failure::Bless {
                file: file.clone(),
                what: format!("it was written, and still fails: {failure}"),
            })?;
            say(format!(
                "{}  rewritten and passing; review the changes",
                file.display()
            ));
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Script, Failure> {
    let source = std::fs::read_to_string(file).map_err(|error| Failure::Unreadable {
        file: file.to_owned(),
        error,
    })?;
    Ok(Script::parse(file, &source)?)
}

/// The scenarios that are named, or lie below folders that are, in order of their names.
fn scenarios(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        find(path, true, &mut found).map_err(|error| Failure::Unreadable {
            file: path.clone(),
            error,
        })?;
    }
    found.sort();
    found.dedup();
    if found.is_empty() {
        return Err(Failure::NoScenarios);
    }
    Ok(found)
}

fn find(path: &Path, named: bool, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if std::fs::metadata(path)?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            find(&entry?.path(), false, found)?;
        }
    } else if named || path.extension().is_some_and(|suffix| suffix == SUFFIX) {
        found.push(path.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_in_the_repository_is_what_is_printed() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/FIELDS.md");
        let stored = std::fs::read_to_string(path).expect("specs/FIELDS.md");
        assert!(
            stored == fields() + "\n",
            "write it anew: tidegate spec fields > specs/FIELDS.md"
        );
    }
}
