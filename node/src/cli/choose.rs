//! What a person means by a name, or by the first digits of an id; and what happens
//! before something is taken away.

use serde_json::{Value, json};

use super::{output::Output, trouble::Trouble};

/// Digits that are enough to mean an id.
const DIGITS_MIN: usize = 4;

/// The one item with this name, this id, or an id that begins so. `kind` is what a
/// person calls it, `list` the command that shows all.
pub fn choose<'a, T>(
    items: &'a [T],
    wanted: &str,
    kind: &str,
    list: &str,
    name: impl Fn(&T) -> &str,
    id: impl Fn(&T) -> String,
) -> Result<&'a T, Trouble> {
    let by_name: Vec<&T> = items.iter().filter(|item| name(item) == wanted).collect();
    let begins = |item: &&T| wanted.len() >= DIGITS_MIN && id(item).starts_with(wanted);
    let found = if by_name.is_empty() { items.iter().filter(begins).collect() } else { by_name };
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Trouble::not_found(format!("there is no {kind} {wanted:?}")).hint(format!(
            "`{list}` shows those that there are. Give a name, or {DIGITS_MIN} or more digits of an id."
        ))),
        several => {
            let ids: Vec<String> = several.iter().take(5).map(|item| id(item)[..12].to_owned()).collect();
            Err(Trouble::invalid(format!("{wanted:?} means {} {kind}s", several.len()))
                .hint(format!("Say which by its id: {}.", ids.join(", "))))
        }
    }
}

/// Shows what would be done instead of doing it. True if it is to be done.
pub fn decided(output: Output, yes: bool, would: &[String], mut object: Value) -> bool {
    if yes {
        return true;
    }
    object["acted"] = false.into();
    object["would"] = json!(would);
    output.result(object, || {
        let lines: Vec<String> = would.iter().map(|line| format!("  - {line}")).collect();
        format!("This would:\n{}\nNothing was changed. Add --yes to do it.", lines.join("\n"))
    });
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(wanted: &str) -> Result<&'static str, Trouble> {
        const ALL: [(&str, &str); 4] =
            [("ada", "aaaa00000000"), ("bob", "abcd00000000"), ("bob", "abce00000000"), ("abce", "ffff00000000")];
        choose(&ALL, wanted, "client", "nuthatch client list", |one| one.0, |one| one.1.into()).map(|one| one.1)
    }

    #[test]
    fn names_come_before_ids_and_doubt_is_refused() {
        assert_eq!(find("ada").unwrap(), "aaaa00000000");
        assert_eq!(find("abcd").unwrap(), "abcd00000000");
        assert_eq!(find("abce").unwrap(), "ffff00000000");
        assert_eq!(find("bob").unwrap_err().code, "invalid");
        assert_eq!(find("abc").unwrap_err().code, "not_found", "too short to mean an id");
        assert_eq!(find("eve").unwrap_err().code, "not_found");
    }
}
