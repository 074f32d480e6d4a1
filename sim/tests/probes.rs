//! What the probes' lists name stands in the product, and the other way round.

use std::{collections::BTreeSet, fs, io, path::Path};

use probe::{PATHS, Plant, Point};

/// Where the product is, from here.
const PRODUCT: &[&str] = &["../actors/control/src", "../actors/repo/src", "../actors/src", "../node/src"];

/// All of the product's sources.
#[expect(clippy::expect_used, reason = "without the sources every test here fails")]
fn product() -> String {
    let mut text = String::new();
    for directory in PRODUCT {
        add(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut text).expect("the sources are beside these");
    }
    text
}

fn add(directory: &Path, text: &mut String) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            add(&path, text)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

/// What follows each occurrence of `call`, up to `end`.
fn arguments<'t>(product: &'t str, call: &str, end: char) -> Vec<&'t str> {
    product.split(call).skip(1).filter_map(|rest| rest.trim_start().split_once(end)).map(|(name, _)| name).collect()
}

#[test]
fn every_path_is_recorded_at_one_place() {
    let product = product();
    let mut recorded: Vec<&str> = arguments(&product, "probe::sometimes(", ')');
    recorded.iter_mut().for_each(|name| *name = name.trim().trim_matches('"'));
    recorded.sort_unstable();
    let mut listed = PATHS.to_vec();
    listed.sort_unstable();
    assert_eq!(recorded, listed);
}

#[test]
fn every_planted_fault_and_every_rare_point_stands_in_the_product() {
    let product = product();
    let plants: BTreeSet<&str> = arguments(&product, "probe::planted(Plant::", ')').into_iter().collect();
    assert_eq!(plants, Plant::ALL.iter().map(|plant| plant.name()).collect());
    let points: BTreeSet<&str> = arguments(&product, "probe::buggify(Point::", ')').into_iter().collect();
    assert_eq!(points, Point::ALL.iter().map(|point| point.name()).collect());
}
