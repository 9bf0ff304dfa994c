//! What people and programs hand over as text: bookmarks, proofs.

use std::sync::OnceLock;

use lineal::Bookmark;

use super::world;

/// A bookmark: one that is read is written as the same text.
pub(crate) fn bookmark(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match text.parse::<Bookmark>() {
        Ok(mark) => {
            assert_eq!(mark.to_string(), text, "a bookmark has one text");
            use_mark(&mark);
        }
        Err(error) => drop(error.to_string()),
    }
}

/// An engine refuses a bookmark that is none of its own, or shows what it is of.
fn use_mark(mark: &Bookmark) {
    let disk = world::disk(world::image());
    let Ok(engine) = world::options(&disk).open_read_only("simulated") else { return };
    if let Ok(namespace) = engine.namespaces().map(|mut all| all.remove(0))
        && let Ok(object) = namespace.by_id(mark.object().id)
    {
        let _ = object.at(mark).map(|view| view.prefix("").count());
        let _ = object.restore(mark).wait();
    }
    let _ = engine.close();
}

pub(crate) fn bookmark_seeds() -> Vec<Vec<u8>> {
    marks().iter().map(|mark| mark.clone().into_bytes()).collect()
}

/// Bookmarks of the small engine.
pub(crate) fn marks() -> &'static [String] {
    static MARKS: OnceLock<Vec<String>> = OnceLock::new();
    MARKS.get_or_init(|| {
        let disk = world::disk(world::image());
        let marks = (|| {
            let engine = world::options(&disk).open_read_only("simulated")?;
            let object = engine.existing_namespace(world::NAMESPACE)?.object("small")?;
            (1..4).map(|seq| Ok(object.bookmark_of(seq)?.to_string())).collect::<lineal::Result<Vec<_>>>()
        })();
        marks.expect("nothing fails")
    })
}

/// A file with a proof.
pub(crate) fn proof(bytes: &[u8]) {
    lineal_cli::hostile::proof(&String::from_utf8_lossy(bytes));
}

pub(crate) fn proof_seeds() -> Vec<Vec<u8>> {
    let root = format!(r#"{{"hash":"{}","size":3,"line":9,"time":5}}"#, "0a".repeat(32));
    let header =
        format!(r#"{{"seq":1,"time":5,"kind":1,"cause":"why","ops":"{}","joint":null}}"#, "0b".repeat(32));
    let engine = "07".repeat(16);
    let hash = "0c".repeat(32);
    let commit = format!(
        r#"{{"format":"lineal commit proof 1","engine":"{engine}","namespace":1,"object":"{engine}","before":"{hash}","commits":[{header}],"index":1,"path":["{hash}","{hash}"],"root":{root}}}"#
    );
    let consistency = format!(
        r#"{{"format":"lineal consistency proof 1","engine":"{engine}","old":{root},"new":{root},"path":["{hash}"]}}"#
    );
    vec![commit.into_bytes(), consistency.into_bytes()]
}
