//! What is written of a run for people: charts, pages, event files.

mod charts;
pub mod events;
mod page;
mod words;

/// Panics unless every element is closed in its turn, attributes are quoted and nothing else is markup. Elements that HTML does not close
/// are passed over.
#[track_caller]
fn assert_well_formed(text: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['<', '&']) {
        rest = &rest[at..];
        if let Some(entity) = rest.strip_prefix('&') {
            let end = entity
                .find(';')
                .unwrap_or_else(|| panic!("a bare & before {:.60}", entity));
            let known = ["amp", "lt", "gt", "quot", "#39"].contains(&&entity[..end]);
            assert!(known, "&{:.60}", entity);
            rest = &entity[end..];
            continue;
        }
        let end = rest.find('>').unwrap_or_else(|| panic!("an open tag: {rest:.60}"));
        let tag = &rest[1..end];
        rest = &rest[end + 1..];
        let name = tag
            .trim_start_matches('/')
            .split(|c: char| !c.is_ascii_alphanumeric())
            .next()
            .unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        if tag.starts_with(['!', '?']) || tag.ends_with('/') || name == "meta" {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "</{name}> closes another");
        } else {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0], "left open");
}
