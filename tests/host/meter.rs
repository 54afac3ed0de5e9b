//! The meters themselves: what they would have to notice, they notice.

use std::time::Duration;

use crate::support::{load::percentile, requests::parse, table::table};

#[test]
fn percentiles_are_by_nearest_rank() {
    let waits: Vec<_> = (1..=200).map(Duration::from_millis).collect();
    assert_eq!(percentile(&waits, 50), Duration::from_millis(100));
    assert_eq!(percentile(&waits, 99), Duration::from_millis(198));
    assert_eq!(percentile(&waits, 100), Duration::from_millis(200));
    assert_eq!(percentile(&[], 99), Duration::ZERO);
}

#[test]
fn a_page_that_was_cut_off_or_mixed_shows() {
    let page = |body: &str| parse(format!("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{body}").as_bytes());
    assert!(page("start=r1\nend=r1\n").is_whole());
    assert!(!page("start=r1\n").is_whole());
    assert!(page("start=r1\nend=r2\n").is_mixed());
    assert!(page("start=r1\nfile=r2\nend=r1\n").is_mixed());
    assert!(!page("start=r1\nfile=r1\nend=r1\n").is_mixed());
    assert!(!parse(b"HTTP/1.1 502 Bad Gateway\r\n\r\nstart=r1\nend=r1\n").is_whole());
    assert!(!parse(b"").is_whole());
}

#[test]
fn columns_are_aligned() {
    let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "1000".to_owned()]];
    assert_eq!(table(&["who", "n"], &rows), "who      n\na        1\nlong  1000\n");
}
