//! Names of objects for paths of files.

use std::fmt::Write;

use lineal::NAME_BYTES_MAX;

/// The name of the object that holds the file at `path`.
///
/// A path that is a name is its own name. Others get one that begins with a slash, which no path in git does:
/// `/bytes/…` with the bytes that are not UTF-8 written as `%XX`, or `/hash/…` where that would be too long. Two paths
/// never share a name.
pub(super) fn of(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) if (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.starts_with('/') => text.to_owned(),
        _ => escaped(path),
    }
}

/// Whether the object's name is not its path, so that the path is kept as an entry.
pub(super) fn is_made_up(name: &str) -> bool {
    name.starts_with('/')
}

fn escaped(path: &[u8]) -> String {
    let mut name = String::from("/bytes/");
    for chunk in path.utf8_chunks() {
        name.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            write!(name, "%{byte:02X}").expect("a string takes everything");
        }
        if name.len() > NAME_BYTES_MAX {
            return format!("/hash/{}", blake3::hash(path).to_hex());
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_own_name_where_it_can_be() {
        for path in ["a", "a b/\n\u{e9}%41", &"x".repeat(1024)] {
            assert_eq!(of(path.as_bytes()), path);
        }
    }

    #[test]
    fn other_paths_get_names_that_differ_and_fit() {
        let odd: [&[u8]; 6] = [b"", b"\xff", b"%FF\xff", b"/", &[b'x'; 1025], &[0xff; 400]];
        let names: Vec<String> = odd.iter().map(|path| of(path)).collect();
        for (at, name) in names.iter().enumerate() {
            assert!(is_made_up(name) && name.len() <= NAME_BYTES_MAX, "{name}");
            assert!(!names[..at].contains(name));
        }
        assert_eq!(names[2], "/bytes/%25FF%FF");
    }
}
