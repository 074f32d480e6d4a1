//! Comparing snapshots.

use repo::{Change, DiffSummary, Difference};
use serde_json::json;

use super::{
    args::SnapshotDiff,
    human,
    output::{Output, line},
    snapshot::{choose, kind, size},
    text::safe_path,
    trouble::Trouble,
};

/// `snapshot diff`.
pub async fn diff(args: SnapshotDiff, output: Output) -> Result<(), Trouble> {
    let mut session = args.data.open().await?;
    let compared = async {
        let before = choose(&session.client, &args.before).await?;
        let after = choose(&session.client, &args.after).await?;
        let mut visit =
            |change: &Change<'_>| line(&if output.is_json() { change_json(change) } else { change_text(change) });
        Ok(session.client.diff(&before, &after, args.path, &mut visit).await?)
    }
    .await;
    let summary = session.close(compared).await?;
    output.result(
        json!({
            "added": summary.added,
            "removed": summary.removed,
            "modified": summary.modified,
            "metadata": summary.metadata,
            "type": summary.types,
            "bytes_added": summary.bytes_added,
            "bytes_removed": summary.bytes_removed,
        }),
        || summary_text(&summary),
    );
    Ok(())
}

fn signs(difference: Difference) -> (&'static str, char) {
    match difference {
        Difference::Added => ("added", '+'),
        Difference::Removed => ("removed", '-'),
        Difference::Modified => ("modified", 'M'),
        Difference::Metadata => ("metadata", 'U'),
        Difference::Type => ("type", 'T'),
    }
}

fn change_text(change: &Change<'_>) -> String {
    let entry = change.after.or(change.before);
    let slash = if entry.is_some_and(|entry| kind(&entry.what).1 == 'd') { "/" } else { "" };
    format!("{} {}{slash}", signs(change.difference).1, safe_path(change.path))
}

fn change_json(change: &Change<'_>) -> String {
    let object = json!({
        "change": signs(change.difference).0,
        "path": change.path.to_string_lossy(),
        "kind": change.after.or(change.before).map(|entry| kind(&entry.what).0),
        "size": change.after.and_then(|entry| size(&entry.what)),
        "size_before": change.before.and_then(|entry| size(&entry.what)),
    });
    object.to_string()
}

fn summary_text(summary: &DiffSummary) -> String {
    let DiffSummary { added, removed, modified, metadata, types, bytes_added, bytes_removed } = *summary;
    if added + removed + modified + metadata + types == 0 {
        return "No difference".into();
    }
    format!(
        "\n{} added, {} removed, {} modified, {} with other attributes, {} of another kind\n{} of data added, {} removed",
        human::count(added),
        human::count(removed),
        human::count(modified),
        human::count(metadata),
        human::count(types),
        human::bytes(bytes_added),
        human::bytes(bytes_removed),
    )
}
