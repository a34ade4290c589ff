//! `dlm-fuzz targets` lists what is fuzzed; `dlm-fuzz seeds FOLDER` writes the seeds of each, for libFuzzer.

use anyhow::{Context as _, bail};
use dlm_fuzz::{TARGETS, seeds::seeds};
use std::path::Path;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["targets"] => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        ["seeds", folder] => write(Path::new(folder))?,
        _ => bail!("usage: dlm-fuzz targets | seeds FOLDER"),
    }
    Ok(())
}

fn write(folder: &Path) -> anyhow::Result<()> {
    for target in TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        for (number, seed) in seeds(target.name).iter().enumerate() {
            let path = folder.join(format!("seed-{number}"));
            std::fs::write(&path, seed).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}
