//! Credentials and certificates, as people hand them over: in files.

use std::path::Path;

use protocol::{
    ids::RepositoryId,
    records::{Storage, StorageCredential},
};

use super::super::{
    args::{CredentialArgs, StoragePlaceArgs},
    input,
    trouble::Trouble,
};
use crate::store::certificates;

/// The storage that the arguments describe, under a name and in no repository yet, and what
/// opens it.
pub fn read_place(args: &StoragePlaceArgs, name: &str) -> Result<(Storage, StorageCredential), Trouble> {
    let storage = Storage {
        repository: RepositoryId([0; 16]),
        name: name.into(),
        endpoint: args.endpoint.clone(),
        region: args.region.clone(),
        bucket: args.bucket.clone(),
        prefix: args.prefix.trim_matches('/').into(),
        virtual_host: args.virtual_host,
        authorities: args.ca_file.as_deref().map(read_authorities).transpose()?.unwrap_or_default(),
    };
    Ok((storage, read_credential(&args.credential)?))
}

/// The credential that the arguments name.
pub fn read_credential(args: &CredentialArgs) -> Result<StorageCredential, Trouble> {
    if let Some(path) = &args.credentials_file {
        return aws_file(path);
    }
    let (Some(access), Some(secret)) = (&args.access_key_file, &args.secret_key_file) else {
        return Err(Trouble::usage(
            "the credential is missing: give --access-key-file and --secret-key-file, or --credentials-file",
        ));
    };
    let token = args.session_token_file.as_deref().map(input::read_secret).transpose()?;
    Ok(StorageCredential {
        access_key: input::read_secret(access)?.to_string(),
        secret_key: input::read_secret(secret)?.to_string(),
        session_token: token.map(|token| token.to_string()),
    })
}

/// Reads the file of the AWS tools: the first profile that has both keys.
fn aws_file(path: &Path) -> Result<StorageCredential, Trouble> {
    let text = input::read_file(path)?;
    input::warn_if_open(path);
    // What stands above the first profile belongs to none, as in a file without profiles.
    let profiles = text.split("\n[").map(|profile| {
        let value = |key: &str| {
            profile.lines().find_map(|line| {
                let (name, value) = line.split_once('=')?;
                (name.trim() == key && !value.trim().is_empty()).then(|| value.trim().to_owned())
            })
        };
        Some(StorageCredential {
            access_key: value("aws_access_key_id")?,
            secret_key: value("aws_secret_access_key")?,
            session_token: value("aws_session_token"),
        })
    });
    profiles.flatten().next().ok_or_else(|| {
        Trouble::invalid(format!(
            "{} does not hold a credential: expected lines aws_access_key_id = ... and aws_secret_access_key = ...",
            path.display()
        ))
    })
}

/// The certificates of the authorities in a file.
pub fn read_authorities(path: &Path) -> Result<Vec<Vec<u8>>, Trouble> {
    certificates(&input::read_bytes(path)?)
        .map_err(|reason| Trouble::invalid(format!("{} cannot be used: {reason}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(text: &str) -> Result<StorageCredential, Trouble> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        aws_file(file.path())
    }

    #[test]
    fn the_first_profile_that_has_both_keys_is_taken_whole() {
        let lasting = read("[default]\naws_access_key_id = A\naws_secret_access_key=S=\n").unwrap();
        assert_eq!(lasting, StorageCredential::new("A", "S="));
        // Neither key nor token of another profile.
        let text = "[half]\naws_access_key_id = X\n\n[whole]\naws_access_key_id = A\naws_secret_access_key = S\n\n[more]\naws_session_token = T\n";
        assert_eq!(read(text).unwrap(), StorageCredential::new("A", "S"));
        let token = read("aws_access_key_id=A\naws_secret_access_key=S\naws_session_token=T").unwrap();
        assert_eq!(token.session_token.as_deref(), Some("T"));
        for nothing in ["", "[default]\naws_access_key_id = A\n", "aws_access_key_id =\naws_secret_access_key = S\n"] {
            assert!(read(nothing).unwrap_err().message.contains("does not hold a credential"));
        }
    }
}
