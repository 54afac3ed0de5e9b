//! Patterns of branches and tags as configurations write them: `main`, `release/*`, `tag:v*`. Pure.

/// What stands before a tag's name, or a pattern of them.
pub const TAG: &str = "tag:";

/// Whether a text is what a pattern says: `*` stands for anything without a `/`, `**` for anything.
///
/// Goes through the pattern with all places of the text where what is before may have ended: many stars take no time.
pub fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let mut ends = vec![false; text.len() + 1];
    ends[0] = true;
    let mut at = 0;
    while let Some(byte) = pattern.get(at) {
        let mut next = vec![false; text.len() + 1];
        let any = pattern.get(at + 1) == Some(&b'*');
        for end in 0..=text.len() {
            next[end] = match byte {
                b'*' => ends[end] || end > 0 && next[end - 1] && (any || text[end - 1] != b'/'),
                byte => end > 0 && ends[end - 1] && text[end - 1] == *byte,
            };
        }
        at += if *byte == b'*' && any { 2 } else { 1 };
        ends = next;
    }
    ends[text.len()]
}
