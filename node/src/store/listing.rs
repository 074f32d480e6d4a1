//! Pages of a listing, as S3 writes them.

use serde::Deserialize;

/// One page of `ListObjectsV2`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Page {
    /// Whether another page follows.
    pub is_truncated: bool,
    /// What asks for that one.
    pub next_continuation_token: Option<String>,
    /// What lies there.
    #[serde(default)]
    pub contents: Vec<Object>,
}

/// One object.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Object {
    /// Its key in the bucket.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
}

/// Reads a page. The error says what is wrong with it.
pub fn page(body: &[u8]) -> Result<Page, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    quick_xml::de::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_as_servers_write_them() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>p/</Prefix>
  <KeyCount>2</KeyCount><IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b=</NextContinuationToken>
  <Contents><Key>p/a</Key><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>&quot;1&quot;</ETag>
    <Size>12</Size><Owner><ID>x</ID><DisplayName/></Owner></Contents>
  <Contents><Key>p/b&lt;</Key><Size>0</Size></Contents></ListBucketResult>"#;
        let object = |key: &str, size| Object { key: key.into(), size };
        let expected = Page {
            is_truncated: true,
            next_continuation_token: Some("a&b=".into()),
            contents: vec![object("p/a", 12), object("p/b<", 0)],
        };
        assert_eq!(page(text.as_bytes()).unwrap(), expected);
        let empty = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        assert_eq!(page(empty.as_bytes()).unwrap().contents, []);
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let deep = format!("<ListBucketResult>{}", "<a>".repeat(100_000));
        for text in [
            "",
            "hello",
            "<Error/>",
            "<ListBucketResult>",
            "<ListBucketResult><IsTruncated>maybe</IsTruncated></ListBucketResult>",
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key></Contents></ListBucketResult>",
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
            deep.as_str(),
        ] {
            page(text.as_bytes()).unwrap_err();
        }
        page(&[0xff, 0xfe]).unwrap_err();
    }
}
