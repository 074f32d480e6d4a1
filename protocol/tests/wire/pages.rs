//! Pages of lists: bounded, in order, nothing left out.

use protocol::{
    codec, limits,
    wire::{Answer, Page, Reply},
};

/// Reads a whole list of pages of byte strings, as a caller does.
fn read(list: &[Vec<u8>]) -> Vec<Page<Vec<u8>>> {
    let mut pages: Vec<Page<Vec<u8>>> = Vec::new();
    let mut after = 0;
    while pages.last().is_none_or(|page| page.more) {
        let page = Page::of(list[after..].iter().cloned());
        after += page.items.len();
        pages.push(page);
    }
    pages
}

#[test]
fn pages_hold_a_list_in_order_and_each_fits() {
    let list: Vec<Vec<u8>> = (0..5000_usize).map(|number| vec![number as u8; number]).collect();
    let pages = read(&list);
    assert!(pages.len() > 10, "{}", pages.len());
    for page in &pages {
        let bytes: usize = page.items.iter().map(|item| codec::encode(item).len()).sum();
        assert!(bytes <= limits::PAGE_BYTES_MAX && !page.items.is_empty());
    }
    let items: Vec<_> = pages.into_iter().flat_map(|page| page.items).collect();
    assert_eq!(items, list);
}

#[test]
fn an_empty_list_is_one_page_and_a_large_item_a_page_of_its_own() {
    assert_eq!(read(&[]), [Page { items: vec![], more: false }]);
    let large = vec![0; limits::PAGE_BYTES_MAX + 1];
    let pages = read(&[large.clone(), vec![1], large]);
    assert_eq!(pages.iter().map(|page| page.items.len()).collect::<Vec<_>>(), [1, 1, 1]);
}

/// The largest record makes a page that still fits in a frame.
#[test]
fn a_full_page_of_records_fits_in_a_frame() {
    let mut record = super::samples::record().signed().clone();
    record.body = vec![7; limits::RECORD_BYTES_MAX];
    let page = Page::of(vec![record; 100]);
    assert!(page.more);
    let frame = codec::encode::<Answer>(&Ok(Reply::Records(page)));
    assert!(frame.len() <= limits::FRAME_BYTES_MAX, "{}", frame.len());
}
